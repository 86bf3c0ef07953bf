"""Deposits, withdrawals and whatever else moves the wallet without a trade: booked to the digit from the venue's transaction log.

The log is read only while the wallets differ. Trades, funding and moves of positions are left out: they come as executions.
"""

from __future__ import annotations

from collections.abc import Iterator

from libs.bybit import rest, wire
from libs.common.events import CashMoved
from services.execution.state import KEEP_IDS, Round, State, forget

MS = 1_000_000
SIX_DAYS_MS = 6 * 86_400_000
OVERLAP_MS = 60_000
"""The log is read so far behind the last agreement: rows come late, clocks differ."""
BY_EXECUTION = frozenset(
    {"TRADE", "SETTLEMENT", "DELIVERY", "LIQUIDATION", "ADL", "BLOCK_TRADE", "MOVE_POSITION", "FUTURE_SPREAD"}
)
"""Types of rows that an execution tells as well."""


def call(state: State, coin: str, cursor: str | None = "") -> rest.Call:
    """The log since both sides last agreed: what moved before is in both wallets. At most as far back as the venue tells it."""
    since = max(state.cash.from_ms, state.cash.agreed_ms - OVERLAP_MS, state.now // MS - SIX_DAYS_MS)
    return rest.transaction_log(since, coin, cursor)


def moves(state: State, current: Round, coin: str) -> Iterator[CashMoved]:
    """What is not booked yet, oldest first."""
    for row in sorted(current.moves, key=lambda row: (wire.instant_ms(row.transaction_time), row.id)):
        counts = row.type not in BY_EXECUTION and row.currency in ("", coin) and row.id not in state.cash.ids
        if counts and wire.instant_ms(row.transaction_time) > state.cash.from_ms and wire.amount(row.change):
            yield CashMoved(amount=wire.amount(row.change), reference=f"{row.type} {row.id}")


def learn(state: State, body: CashMoved, opening_ms: int | None) -> None:
    """`opening_ms`: exchange time of the opening balance, None for any later move."""
    if opening_ms is not None:
        state.cash.from_ms = opening_ms
        return
    state.cash.ids[body.reference.partition(" ")[2]] = state.now // MS
    forget(state.cash.ids, KEEP_IDS)
