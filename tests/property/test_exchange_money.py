"""Two accounts on a market that jumps: whatever is liquidated or deleveraged, every balance is explained by its log."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.errors import UsageError
from sim.config import SimConfig
from sim.engine.account import AccountSpec
from sim.exchange import Exchange
from tests.simbench import BTC, PRICE, Bench

STEPS = st.lists(
    st.fixed_dictionaries(
        {
            "account": st.sampled_from(["sim", "other"]),
            "side": st.sampled_from(["Buy", "Sell"]),
            "lots": st.integers(1, 1500),
            "category": st.sampled_from(["linear", "linear", "spot"]),
            "jump": st.integers(-40_000, 40_000),
            "tif": st.sampled_from(["GTC", "IOC", "FOK", "PostOnly"]),
            "smp": st.sampled_from(["None", "CancelMaker", "CancelTaker", "CancelBoth"]),
        }
    ),
    max_size=20,
)


def played(steps: list[dict[str, Any]]) -> Exchange:
    bench = Bench()
    specs = [AccountSpec(), AccountSpec(key="other")]
    bench.exchange = Exchange(SimConfig(rate_factor=1000, spot=True), bench.tape, 7, specs)
    bench.exchange.desk.counters.insurance = 0
    middle = PRICE
    for step in steps:
        middle = min(max(middle + step["jump"], PRICE // 3), PRICE * 3)
        bench.book(middle=middle, lots=1000)
        bench.play(20)
        sign = 1 if step["side"] == "Buy" else -1
        ticks = middle + sign * 20
        body = {"category": step["category"], "symbol": BTC, "side": step["side"], "qty": f"{step['lots'] / 1000:.3f}",
                "orderType": "Limit", "price": f"{ticks // 10}.{ticks % 10}", "timeInForce": step["tif"],
                "smpType": step["smp"]}  # fmt: skip
        try:
            bench.exchange.operate({"do": "order", "account": step["account"], "body": body})
        except UsageError:
            continue
    bench.book(middle=middle)
    bench.play(20)
    return bench.exchange


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_every_balance_is_explained_by_its_log(steps: list[dict[str, Any]]) -> None:
    exchange = played(steps)
    for account in exchange.desk.accounts.values():
        for coin in {"USDT", *account.coins}:
            change = sum(entry.change for entry in account.log if entry.currency == coin)
            assert account.balance(coin) == change + (account.opening if coin == "USDT" else 0)
        traded = [fill for fill in account.fills if fill.symbol == BTC and fill.exec_type != "Funding"]
        position = account.position(BTC)
        assert position.lots == sum(fill.side * fill.lots for fill in traded)
        assert (position.cost == 0) == (position.lots == 0)
        assert position.open_fee >= 0
        assert account.spot_orders == sum(order.spot for order in account.open_orders.values())
        assert account.wallet >= 0 or account.coins, "nobody owes what nobody lent"
        closed = sum(order.closed_pnl for order in account.closed if not order.spot)
        fees = sum(fill.fee for fill in traded)
        assert abs(closed - position.open_fee - sum(fill.pnl for fill in traded) + fees) <= len(traded), (
            "profit is net of fees"
        )
    own = [order for orders in exchange.desk.resting.values() for order in orders]
    assert all(order.is_open for order in own)
