"""A desk that trades a perpetual against its spot pair."""

from __future__ import annotations

from typing import Any

from libs.common import events as e
from libs.common.events import Event, OrderIntent
from services.risk.config import Allow, RiskConfig
from tests.unit.risk.desk import D, Desk, config, of, opened

PERP, SPOT = "BTCUSDT", "BTCUSDT-SPOT"
NAMES = ("arb", "trend")


def settings(**changes: Any) -> RiskConfig:
    fields: dict[str, Any] = {
        "auto_arm": True,
        "allow": {name: Allow(symbols=(PERP, SPOT)) for name in NAMES},
        "allocation": {"arb": D("0.5"), "trend": D("0.5")},
    }
    return config(**(fields | changes))


def paired(**changes: Any) -> Desk:
    desk = opened(settings(**changes))
    desk.instrument(SPOT, "0.000001", category="spot", min_qty=D("0.000011"), tick_size=D("0.01"))
    desk.tick("60000", SPOT, width="0.01")
    return desk


def ask(desk: Desk, target: str = "-1", **changes: Any) -> list[Event]:
    return desk.signal(target, "arb", PERP, hedge=SPOT, **changes)


def legs(made: list[Event]) -> dict[str, OrderIntent]:
    return {order.symbol: order for order in of(made, OrderIntent)}


def traded(desk: Desk, order: OrderIntent, qty: Any = None, price: str = "60000") -> list[Event]:
    """An IOC that took `qty` (all by default) and is then over."""
    part = order.qty if qty is None else D(qty)
    made: list[Event] = []
    if part:
        body = e.Fill(
            order_link_id=order.order_link_id, order_id="v", exec_id=str(desk.seq), strategy=order.strategy,
            symbol=order.symbol, side=order.side, qty=part, price=D(price), fee=D(0), is_maker=False,
            reduce_only=order.reduce_only, purpose=order.purpose, cum_qty=part, order_qty=order.qty, exec_at=desk.now,
        )  # fmt: skip
        made = desk.put(body, "fill")
    return made if part == order.qty else made + desk.cancelled(order, str(part))


def stakes(desk: Desk, strategy: str = "arb") -> tuple[Any, Any]:
    ledger = desk.state.ledger
    return tuple(ledger.grids[s].quantity(ledger.stake_lots(strategy, s)) for s in (PERP, SPOT))  # type: ignore[return-value]
