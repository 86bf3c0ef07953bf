"""Three-way reconciliation: our log, the private stream, and what the exchange answers when asked.

A round asks for positions, open orders, wallet and executions. Executions heal the ledger first; then the rest is compared.
A difference counts when two rounds in a row show the very same one: anything in flight looks different the second time.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from libs.bybit import rest, wire
from libs.common.events import (
    AccountSnapshot,
    CashMoved,
    Event,
    FlatConfirmed,
    Mismatch,
    PositionReport,
    Reconciled,
    VenueMessage,
)
from libs.common.values import LINEAR, SPOT, base_coin, category_of, from_units, to_units
from services.execution import cash, spot, terms, vitals
from services.execution.calls import Kind, Pending
from services.execution.config import ExecutionConfig
from services.execution.orders import Order, OrderState
from services.execution.state import Difference, Round, State

MS = 1_000_000
OPENING = "opening"
VENUE_RESET = "venue_reset"
STREAM = "stream"
SIX_DAYS_MS = 6 * 86_400_000
"""Executions can be asked for at most seven days back."""
PAGE_SIZES = {Kind.POLL_POSITIONS: 200, Kind.POLL_ORDERS: 50, Kind.POLL_EXECUTIONS: 100, Kind.POLL_CASH: 50}
STREAM_LAG_MS = 2_000
"""An execution that a poll tells first is the stream's fault only when it is older than this."""


# --- asking -----------------------------------------------------------------------------------------------------------


def hurry(state: State) -> None:
    """Poll at the next chance."""
    state.reconciliation.due_at = state.reconciliation.due_instant = 0


def begin_if_due(state: State, config: ExecutionConfig, *, tape: bool) -> None:
    """Start a round when it is time: by instants on a tape, by the clock otherwise; flattening polls all the time."""
    our = state.reconciliation
    if our.round is not None:
        return
    due = (state.instants >= our.due_instant or our.flat_wanted) if tape else state.now >= our.due_at
    if due:
        begin(state, config)


def begin(state: State, config: ExecutionConfig) -> None:
    our, calls, now = state.reconciliation, state.calls, state.now
    our.rounds += 1
    our.due_at = now + (1_000 if our.flat_wanted else config.reconcile_every_ms) * MS
    our.due_instant = state.instants + config.reconcile_every_instants
    terms.keep(state, config)
    our.round = Round(our.rounds, now)
    coin, since = config.settle_coin, _executions_from(state, config)
    coins = ",".join([coin, *(base_coin(symbol) for symbol in spot.symbols_of(config.symbols))])
    our.round.waiting = [
        calls.add(Kind.POLL_TIME, rest.market_time(), "", now),
        calls.add(Kind.POLL_POSITIONS, rest.positions(coin), "", now),
        calls.add(Kind.POLL_ORDERS, rest.open_orders(coin), "", now),
        calls.add(Kind.POLL_WALLET, rest.wallet_balance(coins), "", now),
        calls.add(Kind.POLL_EXECUTIONS, rest.executions(since, coin), "", now),
    ]
    if state.cash.wanted:
        our.round.waiting.append(calls.add(Kind.POLL_CASH, cash.call(state, coin), "", now))
    if spot.symbols_of(config.symbols):
        our.round.waiting += [
            calls.add(Kind.POLL_ORDERS, rest.open_orders(category=SPOT), "", now),
            calls.add(Kind.POLL_EXECUTIONS, rest.executions(since, category=SPOT), "", now),
        ]


def _executions_from(state: State, config: ExecutionConfig) -> int:
    """Start of the executions to read, ms: the last known one less an overlap, or further back to heal."""
    our = state.reconciliation
    start = our.heal_from_ms or our.known_ms - config.overlap_ms
    return max(start, our.born_ms, state.now // MS - SIX_DAYS_MS, 0)


# --- answers ----------------------------------------------------------------------------------------------------------


def polled(
    state: State, config: ExecutionConfig, pending: Pending, reply: rest.Reply | None, body: VenueMessage
) -> None:
    """Take an answer of the round. A failed one spoils the round; the next comes soon."""
    current = state.reconciliation.round
    number = pending.request.number
    if current is None or number not in current.waiting:
        return
    current.waiting.remove(number)
    if reply is None or not reply.ok:
        current.failed = True
        return
    match pending.kind:
        case Kind.POLL_TIME:
            vitals.measure_clock(state.vitals, reply, body)
            current.incarnation = rest.server_time_of(reply.result).incarnation
        case Kind.POLL_WALLET:
            current.wallet = rest.wallet_of(reply.result, config.settle_coin)
            current.wallet_ms = reply.time_ms
        case _:
            _take_page(state, config, current, pending.kind, rest.page_of(reply.result))


def renumbered(state: State, old: int, new: int) -> None:
    """A call of the round goes again under another number."""
    current = state.reconciliation.round
    if current is not None and old in current.waiting:
        current.waiting[current.waiting.index(old)] = new


def _take_page(state: State, config: ExecutionConfig, current: Round, kind: Kind, page: wire.Page) -> None:
    coin, category, rows = config.settle_coin, page.category or LINEAR, 0
    if kind is Kind.POLL_POSITIONS:
        found = rest.positions_of(page)
        current.positions.extend(found)
        rows, call = len(found), rest.positions(coin, page.cursor)
    elif kind is Kind.POLL_ORDERS:
        orders = rest.orders_of(page)
        current.orders.extend(orders)
        rows, call = len(orders), rest.open_orders(coin, page.cursor, category)
    elif kind is Kind.POLL_CASH:
        moves = rest.log_rows_of(page)
        current.moves.extend(moves)
        rows, call = len(moves), cash.call(state, coin, page.cursor)
    else:
        executions = rest.executions_of(page)
        current.executions.extend(row for row in executions if not state.is_booked(row.exec_id, row.exec_ms))
        rows, call = len(executions), rest.executions(_executions_from(state, config), coin, page.cursor, category)
    if page.cursor and rows >= PAGE_SIZES[kind]:
        current.waiting.append(state.calls.add(kind, call, "", state.now))


def watch_stream(state: State, current: Round) -> None:
    """Executions that only the poll tells: where the private stream had its time, it is silent although it answers pings."""
    if not state.connected or state.instants:
        return
    since_ms, until_ms = state.connected_at // MS + STREAM_LAG_MS, current.wallet_ms - STREAM_LAG_MS
    for done in current.executions:
        if done.exec_id not in state.exec_ids and since_ms < done.exec_ms < until_ms:
            state.reconciliation.silent_exec = done.exec_id


def finished(state: State) -> bool:
    """Whether the round has all its answers. A spoilt one is thrown away."""
    our = state.reconciliation
    if our.round is None or our.round.waiting:
        return False
    if our.round.failed or our.round.wallet is None:
        our.round = None
        our.due_at, our.due_instant = min(our.due_at, state.now + 1_000 * MS), state.instants + 1
        return False
    return True


# --- comparing --------------------------------------------------------------------------------------------------------


def verdict(state: State, config: ExecutionConfig) -> Iterator[Event]:
    """What a complete round gives, after its executions were booked."""
    our = state.reconciliation
    current = our.round
    if current is None or current.wallet is None:
        return
    wallet = current.wallet
    if our.incarnation and current.incarnation != our.incarnation:
        yield Mismatch(kind=VENUE_RESET, symbol="", ours=our.incarnation, venue=current.incarnation)
    if not our.opened:
        known = state.ledger.wallet_units - spot.cost_units(state.ledger)
        yield CashMoved(amount=wallet.balance - from_units(known), reference=OPENING)
    yield from cash.moves(state, current, config.settle_coin)
    if our.silent_exec:
        yield Mismatch(kind=STREAM, symbol="", ours="", venue=our.silent_exec, healed=True)
    yield AccountSnapshot(
        wallet=wallet.balance,
        equity=wallet.equity,
        available=wallet.available,
        positions=tuple(
            PositionReport(symbol=p.symbol, qty=p.qty, entry_price=p.entry_price) for p in current.positions
        ),
        open_orders=len(current.orders),
        margin_ratio=wallet.margin_ratio,
        balances=spot.free(wallet, config.symbols),
    )
    for difference in our.confirmed:
        if difference not in our.reported:
            yield Mismatch(kind=difference.kind, symbol=difference.symbol, ours=difference.ours, venue=difference.venue)
    if not our.differences:
        yield Reconciled(
            checks=current.number,
            wallet=wallet.balance,
            positions=len(current.positions),
            open_orders=len(current.orders),
        )
    if _is_flat(state, current):
        yield FlatConfirmed(checked_at=state.now, wallet=wallet.balance)


def _is_flat(state: State, current: Round) -> bool:
    our = state.reconciliation
    asked = our.flat_wanted and current.number > our.flat_after
    sold = all(spot.is_flat(state.ledger, state.coins, name) for name in spot.symbols_of(tuple(state.ledger.positions)))
    return asked and sold and not current.positions and not current.orders and not state.orders


def learn(state: State, config: ExecutionConfig, event: Event) -> None:
    """Fold the account events of ours."""
    our = state.reconciliation
    if isinstance(event, CashMoved):
        opening = our.round.wallet_ms if event.reference == OPENING and our.round is not None else None
        our.opened |= event.reference == OPENING
        cash.learn(state, event, opening)
    elif isinstance(event, Mismatch):
        if event.kind == VENUE_RESET:
            our.incarnation = event.venue
        elif event.kind == STREAM:
            our.silent_exec, state.connected = "", False
            state.calls.ask_stream(Kind.STREAM, "reconnect")
        else:
            our.reported.append(Difference(event.kind, event.symbol, event.ours, event.venue))
            our.heal_from_ms = _heal_from(state)
    elif isinstance(event, Reconciled):
        our.reported, our.confirmed, our.heal_from_ms = [], [], 0
        state.cash.agreed_ms = state.now // MS
    elif isinstance(event, FlatConfirmed):
        # The liquidation ends when risk's ledger is flat as well: until ours is, go on confirming.
        our.flat_wanted = any(not spot.is_flat(state.ledger, state.coins, name) for name in state.ledger.positions)
    elif isinstance(event, AccountSnapshot) and our.round is not None:
        _conclude(state, config, our.round)


def _conclude(state: State, config: ExecutionConfig, current: Round) -> None:
    our = state.reconciliation
    our.incarnation = our.incarnation or current.incarnation
    if current.wallet is not None:
        for symbol in spot.symbols_of(config.symbols):
            held = current.wallet.coins.get(base_coin(symbol), Decimal(0))
            state.coins.before.setdefault(symbol, held - state.coins.expected(state.ledger, symbol))
    found = list(compare(state, config, current))
    # What the venue has not said yet withholds agreement, but is no disagreement.
    our.confirmed = [difference for difference in found if difference in our.differences and difference.venue]
    our.differences, our.round = found, None
    state.cash.wanted = any(difference.kind == "wallet" for difference in found)
    _chase_missing(state, current)
    if found:
        our.due_at = state.now + config.recheck_ms * MS
        our.due_instant = state.instants + 1


def _heal_from(state: State) -> int:
    """As far back as every execution is still remembered: reading further would book one twice."""
    return state.forgotten_ms + 1 if state.forgotten_ms else state.reconciliation.born_ms


def compare(state: State, config: ExecutionConfig, current: Round) -> Iterator[Difference]:
    """Every point on which log and venue differ, in a fixed order."""
    venue = {position.symbol: position.qty for position in current.positions}
    moved = False
    perpetuals = {symbol for symbol in state.ledger.positions if category_of(symbol) == LINEAR}
    for symbol in sorted(venue.keys() | perpetuals):
        ours, theirs = state.ledger.quantity(symbol), venue.get(symbol, Decimal(0))
        if ours != theirs:
            moved = True
            yield Difference("position", symbol, rest.plain(ours), rest.plain(theirs))
    for symbol, ours, theirs in _coins(state, config, current):
        moved = True
        yield Difference("coins", symbol, rest.plain(ours), rest.plain(theirs))
    if not moved:
        # Otherwise a trade fell between the answers, or the position is wrong: the wallet cannot tell more.
        yield from _compare_wallet(state, config, current)
    yield from _compare_orders(state, current)
    yield from terms.differences(state, config)
    yield from terms.place(config, current.incarnation)


def _coins(state: State, config: ExecutionConfig, current: Round) -> list[tuple[str, Decimal, Decimal]]:
    if current.wallet is None:
        return []
    return list(spot.compare(state.ledger, state.coins, current.wallet, config.symbols))


def _compare_wallet(state: State, config: ExecutionConfig, current: Round) -> Iterator[Difference]:
    """Equal to the last digit, unless fills were booked in another order than the venue's: then part of the profit is
    still in the cost of what is held, and wallet less cost must be equal instead."""
    if current.wallet is None:
        return
    ours, theirs = state.ledger.wallet_units - spot.cost_units(state.ledger), to_units(current.wallet.balance)
    if abs(theirs - ours) <= config.wallet_tolerance_units:
        return
    rounding = config.wallet_tolerance_units
    for symbol, position in state.ledger.positions.items():
        if category_of(symbol) == SPOT:
            continue
        ours -= position.cost_units if position.lots > 0 else -position.cost_units
    for told in current.positions:
        theirs -= to_units(told.entry_price * told.qty)
        # The venue shows its entry price with eight decimals at best.
        rounding += int(abs(told.qty)) + 1
    if abs(theirs - ours) > rounding:
        text = rest.plain(from_units(state.ledger.wallet_units))
        yield Difference("wallet", "", text, rest.plain(current.wallet.balance))


def _compare_orders(state: State, current: Round) -> Iterator[Difference]:
    for order in _missing(state, current):
        yield Difference("order", order.symbol, f"{order.link_id} {order.state}", "not open")
    for told in current.orders:
        closed = state.closed.get(told.link_id)
        if closed is not None:
            yield Difference("order", told.symbol, f"{told.link_id} {closed.state}", told.status)


def _missing(state: State, current: Round) -> Iterator[Order]:
    """Live orders that the venue does not list; those in motion since the round began prove nothing."""
    listed = {told.link_id for told in current.orders}
    for order in state.orders.values():
        settled = order.state is OrderState.LIVE and order.accepted_at < current.started_at
        if settled and not order.venue_final and order.link_id not in listed:
            yield order


def _chase_missing(state: State, current: Round) -> None:
    for order in _missing(state, current):
        order.lookup_at = order.lookup_at or state.now
