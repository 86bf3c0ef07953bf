"""Ten thousand signals a second at a real risk service, and a halt in their midst."""

from __future__ import annotations

import pytest

from benchmarks.desk import flood

pytestmark = pytest.mark.timeout(300)


def test_every_signal_of_a_flood_is_decided_once_and_none_is_sent_after_the_halt() -> None:
    found = flood(10_000, 1)
    print(found)
    assert (found.decided, found.lost, found.doubled) == (10_000, 0, 0)
    assert found.submitted_after == 0, "the gate is closed in the halt's own commit"
