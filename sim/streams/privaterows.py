"""Which rows the private topics show of what changed for an account."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sim.engine.account import Account
from sim.engine.desk import Touched
from sim.engine.market import Market
from sim.routes.rows import (
    execution_frame_row,
    fast_execution_row,
    order_frame_row,
    position_frame_row,
    wallet_row,
)


def private_rows(
    account: Account, change: Touched, listening: frozenset[str], markets: Mapping[str, Market]
) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """(topic, category, rows) of each topic somebody listens to and that has any, in the order they leave; no category for
    the wallet."""
    groups: list[tuple[str, list[dict[str, Any]]]] = []
    if change.orders and "order" in listening:
        rows = [order_frame_row(order, markets[order.symbol].instrument) for order in change.orders.values()]
        groups.append(("order", rows))
    if change.fills and "execution" in listening:
        groups.append(("execution", [execution_frame_row(f, markets[f.symbol].instrument) for f in change.fills]))
    if change.fills and "execution.fast" in listening:
        fast = [fast_execution_row(f, markets[f.symbol].instrument) for f in change.fills if f.exec_type == "Trade"]
        if fast:
            groups.append(("execution.fast", fast))
    if change.positions and "position" in listening:
        rows = [position_frame_row(account.position(symbol, idx), markets, account) for symbol, idx in change.positions]
        groups.append(("position", rows))
    if change.wallet and "wallet" in listening:
        groups.append(("wallet", [wallet_row(account, markets)]))
    return [(topic, category, part) for topic, rows in groups for category, part in _by_category(rows)]


def _by_category(rows: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Rows of one message are of one category."""
    parts: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        parts.setdefault(row.get("category", ""), []).append(row)
    return list(parts.items())
