"""One command ends it: halt, cancel, flatten until the exchange itself says flat, while the exchange has its worst day."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.killswitch.trading import Trading
from tests.integration.watchdog.rig import SYMBOL
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(300)

CALM: tuple[dict[str, Any], ...] = ()
LATE_ACKS = ({"kind": "latency", "where": "reply", "ms": 30_000, "match": {"path": "/v5/order/c"}},)
RATE_LIMITED = ({"kind": "refuse", "code": 10006, "rate": 0.5, "match": {"path": "/v5/order"}},)
DEAD_STREAM = ({"kind": "silence"},)
HALF_OPEN = ({"kind": "half_open", "line": "private"},)


@pytest.mark.parametrize(
    "faults", [CALM, LATE_ACKS, RATE_LIMITED, DEAD_STREAM, HALF_OPEN],
    ids=["calm", "acks 30 s late", "half of all calls 10006", "silent private stream", "half-open private stream"],
)  # fmt: skip
def test_halt_and_flatten_ends_flat_by_the_exchanges_own_word(
    tmp_path: Path, faults: tuple[dict[str, Any], ...]
) -> None:
    with Trading(tmp_path) as run:
        run.start_trading()
        run.hold_and_rest()
        run.post_faults(*faults)
        done = run.tidegate("halt", "--reason", "drill", "--flatten", "--no-wait")
        assert done.returncode == 0, done.stderr
        eventually(lambda: run.happened("account", "FlatConfirmed"), 150)
        eventually(lambda: (run.held(), run.entries(), run.stops()) == (0, [], 0), 30)
        _nothing_was_entered_after_the_halt(run)
        print(_figures(run))


def test_banned_over_http_it_exits_over_the_trade_socket(tmp_path: Path) -> None:
    """403: every call is refused, the sockets live. The exchange is flat; the word for it has to wait until HTTP is back."""
    with Trading(tmp_path) as run:
        run.start_trading()
        run.hold_and_rest()
        run.post_faults({"kind": "ban", "for_ms": 600_000})
        done = run.tidegate("halt", "--reason", "drill", "--flatten", "--no-wait")
        assert done.returncode == 0, done.stderr
        eventually(lambda: run.held() == 0 and not run.entries(), 150)
        _nothing_was_entered_after_the_halt(run)


def test_a_strangers_order_halts_the_book(tmp_path: Path) -> None:
    with Trading(tmp_path) as run:
        run.start_trading()
        began_ms = time.time_ns() // 1_000_000
        run.post_faults({"kind": "foreign", "symbol": SYMBOL, "side": "Buy", "qty": "0.01", "price": "10000"})
        eventually(lambda: run.happened("account", "ForeignOrder"), 30)
        (halt,) = eventually(lambda: [h for h in run.happened("halt", "Halted") if h["reason"] != "BORN"], 30)
        assert halt["reason"] == "FOREIGN_ORDER"
        print(f"a stranger's order to the halt {halt['entry'][0] - began_ms} ms")


def test_what_a_silent_private_stream_hides_is_found(tmp_path: Path) -> None:
    """The stream answers pings and says nothing: the next poll tells what it did not."""
    with Trading(tmp_path) as run:
        run.start_trading()
        run.post_faults({"kind": "silence"})
        run.signal("taker")
        eventually(lambda: run.happened("fill", "Fill"), 60)
        filled = sum(int(float(fill["qty"]) * 1000) for fill in run.happened("fill", "Fill"))
        assert filled == int(run.held() * 1000)
        traded_ms = min(fill["exec_at"] for fill in run.happened("fill", "Fill")) // 1_000_000
        print(f"a silent stream's fill to its booking {run.happened('fill', 'Fill')[0]['entry'][0] - traded_ms} ms")


def _nothing_was_entered_after_the_halt(run: Trading) -> None:
    """T1 on the real log: no approval of an entry behind the halt."""
    (halted,) = [h for h in run.happened("halt", "Halted") if h["reason"] == "OPERATOR"]
    late = [
        i
        for i in run.happened("order-intent", "OrderIntent")
        if i["entry"] > halted["entry"] and i["purpose"] == "entry"
    ]
    assert late == []


def _figures(run: Trading) -> str:
    """Spans from the halt's commit, in ms, for people."""
    (halted,) = [h for h in run.happened("halt", "Halted") if h["reason"] == "OPERATOR"]
    flat = run.happened("account", "FlatConfirmed")[0]
    ends = [
        e
        for kind in ("OrderCancelled", "OrderResolved")
        for e in run.happened("order", kind)
        if e["entry"] > halted["entry"]
    ]
    cancelled = min((e["entry"][0] - halted["entry"][0] for e in ends), default=-1)
    sent = [at / 1e6 - halted["entry"][0] for at in run.tap.cancels.values()]
    cancels = f"{min(sent):.0f} to {max(sent):.0f} ms" if sent else "never over HTTP"
    slices = len([i for i in run.happened("order-intent", "OrderIntent") if i["purpose"] == "flatten"])
    return f"halt to cancels at the exchange {cancels}, to entry gone {cancelled} ms, to FlatConfirmed {flat['entry'][0] - halted['entry'][0]} ms, {slices} slices"
