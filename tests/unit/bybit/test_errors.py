from __future__ import annotations

import itertools

import pytest

from libs.bybit.errors import API_ERRORS, CODES, MAYBE_PLACED, NEVER_PLACED, REFUSED_UNREAD, Outcome, classify


def test_no_code_is_in_two_classes() -> None:
    for first, second in itertools.combinations(CODES.values(), 2):
        assert not first & second


def test_every_outcome_of_a_create_has_exactly_one_meaning() -> None:
    for outcome in Outcome:
        meanings = [outcome in meaning for meaning in (NEVER_PLACED, REFUSED_UNREAD, MAYBE_PLACED, {Outcome.OK})]
        assert sum(meanings) == 1, outcome


@pytest.mark.parametrize(
    ("status", "code", "message", "outcome"),
    [
        (200, 0, "OK", Outcome.OK),
        (200, 110043, "leverage not modified", Outcome.BENIGN),
        (200, 10001, "order not modified", Outcome.BENIGN),
        (200, 10001, "params error", Outcome.BAD_REQUEST),
        (200, 110072, "OrderLinkedID is duplicate", Outcome.DUPLICATE),
        (200, 10006, "Too many visits!", Outcome.RATE_LIMIT),
        (200, 10002, "recv_window", Outcome.CLOCK),
        (200, 10016, "", Outcome.AMBIGUOUS),
        (200, 110001, "", Outcome.GONE),
        (200, 123456789, "", Outcome.UNKNOWN),
        (403, None, "access too frequent", Outcome.IP_LIMIT),
        (401, None, "", Outcome.AUTH),
        (404, None, "", Outcome.BAD_REQUEST),
        (502, None, "<html>", Outcome.AMBIGUOUS),
        (429, None, "", Outcome.AMBIGUOUS),
        (200, None, "<html>", Outcome.AMBIGUOUS),
    ],
)
def test_classify(status: int, code: int | None, message: str, outcome: Outcome) -> None:
    assert classify(status, code, message) is outcome


def test_business_refusals_are_no_api_errors() -> None:
    assert not API_ERRORS & {Outcome.FUNDS, Outcome.PRICE, Outcome.SIZE, Outcome.GONE, Outcome.BENIGN, Outcome.OK}
