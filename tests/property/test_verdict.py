"""Every size limit against a second opinion: the book's exposure in plain sums, for any positions, open orders and limits."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.events import Purpose, Reason, TimeInForce
from libs.common.portfolio import Position
from libs.common.values import Grid, Side
from services.risk import limits
from services.risk.config import Limits
from services.risk.draft import Draft, exposure, minimum_lots, reserve
from services.risk.state import Market, Order, RiskState

D = Decimal
SYMBOLS = ("BTCUSDT", "ETHUSDT")
LOT = {"BTCUSDT": D("0.001"), "ETHUSDT": D("0.01")}
UNITS = 10**8
SIZES = (
    Reason.MAX_POSITION_SIZE, Reason.POSITION_LIMIT_USD, Reason.MAX_ORDER_USD, Reason.MAX_ORDER_QTY, Reason.MAX_GROSS_USD,
    Reason.MAX_NET_USD, Reason.MAX_LEVERAGE, Reason.BELOW_MINIMUM,
)  # fmt: skip


@st.composite
def orders(draw: Any) -> Order:
    lots = draw(st.integers(1, 30))
    return Order(
        order_link_id=draw(st.text("abcdef", min_size=6, max_size=6)), strategy="other", symbol=draw(st.sampled_from(SYMBOLS)),
        sign=draw(st.sampled_from((1, -1))), lots=lots, filled=draw(st.integers(0, lots)), price=D(1),
        lot_units=draw(st.integers(1, 400)) * UNITS, time_in_force=TimeInForce.IOC, reduce_only=draw(st.booleans()),
        purpose=Purpose.ENTRY, at=0,
    )  # fmt: skip


@st.composite
def books(draw: Any) -> tuple[RiskState, Draft]:
    state = RiskState()
    for symbol in SYMBOLS:
        market = Market(symbol, tick_size=D("0.1"), step=draw(st.integers(1, 3)), min_lots=draw(st.integers(1, 4)))
        market.max_lots = draw(st.integers(20, 200))
        market.min_notional_units = draw(st.integers(0, 500)) * UNITS
        market.mark_units = draw(st.integers(1, 300)) * UNITS
        state.markets[symbol] = market
        state.ledger.grids[symbol] = Grid(tick_size=D("0.1"), lot_size=LOT[symbol])
        state.ledger.positions[symbol] = Position(lots=draw(st.integers(-60, 60)))
    state.orders = {order.order_link_id: order for order in draw(st.lists(orders(), max_size=5))}
    state.ledger.wallet_units = draw(st.integers(0, 30_000)) * UNITS
    usd = st.integers(0, 40_000).map(D)
    state.limits = Limits(
        max_position_size=draw(st.integers(0, 150)) * D("0.001"), position_limit_usd=draw(usd), max_gross_usd=draw(usd),
        max_net_usd=draw(usd), max_leverage=D(draw(st.integers(0, 50))) / 10, max_order_usd=draw(usd),
        max_order_qty=D(draw(st.sampled_from((0, 5, 50)))) * D("0.001"),
    )  # fmt: skip
    symbol = draw(st.sampled_from(SYMBOLS))
    lot_units = max(draw(st.integers(1, 400)) * UNITS, state.markets[symbol].mark_units)
    draft = Draft("mine", symbol, draw(st.sampled_from(Side)), draw(st.integers(0, 120)), D(1), D(1), lot_units)
    draft.least_lots = minimum_lots(state.markets[symbol], lot_units)
    return state, draft


def second_opinion(state: RiskState, draft: Draft) -> dict[Reason, tuple[Decimal, bool]]:
    """(measured, breached) of each size limit, by its definition in words."""
    sign, mine = draft.side.sign, draft.symbol
    value: dict[tuple[str, int], Decimal] = {}
    lots: dict[tuple[str, int], int] = {}
    for symbol, market in state.markets.items():
        held = state.ledger.positions[symbol].lots
        for side in (1, -1):
            waiting = [o for o in state.orders.values() if o.symbol == symbol and o.sign == side and not o.reduce_only]
            lots[symbol, side] = max(held * side, 0) + sum(o.lots - o.filled for o in waiting)
            at_worst = sum((o.lots - o.filled) * max(o.lot_units, market.mark_units) for o in waiting)
            value[symbol, side] = D(max(held * side, 0) * market.mark_units + at_worst)
    wanted = D(draft.lots * draft.lot_units)
    value[mine, sign] += wanted
    gross = sum(max(value[symbol, 1], value[symbol, -1]) for symbol in SYMBOLS) / UNITS
    net = {
        side: sum(
            side * state.ledger.positions[s].lots * market.mark_units
            + sum((o.lots - o.filled) * max(o.lot_units, market.mark_units) for o in state.orders.values()
                  if o.symbol == s and o.sign == side and not o.reduce_only)
            for s, market in state.markets.items()
        )
        for side in (1, -1)
    }  # fmt: skip
    net[sign] += int(wanted)
    worst_net = D(max(net.values())) / UNITS
    symbol_usd = max(value[mine, 1], value[mine, -1]) / UNITS
    size = (lots[mine, sign] + draft.lots) * LOT[mine]
    capital = D(state.ledger.wallet_units) / UNITS
    limit, market = state.limits, state.markets[mine]
    ours = [int(limit.max_order_qty / LOT[mine])] if limit.max_order_qty > 0 else []
    largest = min([market.max_lots, *ours])
    least = max(market.min_lots, -(-market.min_notional_units // draft.lot_units), market.step)
    least += -least % market.step
    return {
        Reason.MAX_POSITION_SIZE: (size, lots[mine, sign] + draft.lots > int(limit.max_position_size / LOT[mine])),
        Reason.POSITION_LIMIT_USD: (symbol_usd, symbol_usd > limit.position_limit_usd),
        Reason.MAX_ORDER_USD: (wanted / UNITS, wanted / UNITS > limit.max_order_usd),
        Reason.MAX_ORDER_QTY: (draft.lots * LOT[mine], draft.lots > largest),
        Reason.MAX_GROSS_USD: (gross, gross > limit.max_gross_usd),
        Reason.MAX_NET_USD: (worst_net, worst_net > limit.max_net_usd),
        Reason.MAX_LEVERAGE: (
            (gross / capital).quantize(D("0.000001")) if capital > 0 and gross > 0 else D(0), gross > limit.max_leverage * capital
        ),
        Reason.BELOW_MINIMUM: (draft.lots * LOT[mine], draft.lots < least),
    }  # fmt: skip


def sized(state: RiskState, draft: Draft, lots: int) -> dict[Reason, tuple[Decimal, bool]]:
    draft.lots, before = lots, draft.lots
    told = second_opinion(state, draft)
    draft.lots = before
    return told


@settings(max_examples=300, deadline=None)
@given(books())
def test_every_size_limit_measures_what_its_words_say(book: tuple[RiskState, Draft]) -> None:
    state, draft = book
    draft.exposure = exposure(state, draft.symbol)
    expected = second_opinion(state, draft)
    told = {use.name: use.measured for use in limits.judge(state, draft).uses}
    for reason in SIZES:
        assert (told[reason], limits.ENTRY[reason](state, draft)[2]) == expected[reason], reason


@settings(max_examples=300, deadline=None)
@given(books())
def test_a_draft_is_shrunk_to_the_most_that_every_size_limit_lets_pass(book: tuple[RiskState, Draft]) -> None:
    """On the venue's step; where nothing passes, what is left breaches a limit and is refused."""
    state, draft = book
    asked, step = draft.lots, state.markets[draft.symbol].step
    least = next(lots for lots in range(10_000) if not sized(state, draft, lots)[Reason.BELOW_MINIMUM][1])
    passing = [
        lots for lots in range(least, asked + 1)
        if (lots % step == 0 or lots == asked == least) and not any(breached for _, breached in sized(state, draft, lots).values())
    ]  # fmt: skip
    verdict = limits.assess(state, draft)
    if asked <= least:
        assert verdict.lots == asked
    elif passing:
        assert verdict.lots == max(passing)
    else:
        assert any(breached for _, breached in sized(state, draft, verdict.lots).values())
        assert verdict.binding is not None


@settings(max_examples=100, deadline=None)
@given(books(), st.sampled_from(Side), st.integers(1, 20), st.integers(1, 300))
def test_the_other_leg_of_a_pair_counts_as_open(
    book: tuple[RiskState, Draft], side: Side, lots: int, worth: int
) -> None:
    """A leg on another symbol: gross by its value, net on its own side only."""
    state, draft = book
    draft.exposure = exposure(state, draft.symbol)
    gross, long, short = (
        getattr(draft.exposure, n) for n in ("gross_others_units", "net_long_units", "net_short_units")
    )
    reserve(draft, Draft("mine", "OTHER", side, lots, D(1), D(1), worth * UNITS))
    added = lots * worth * UNITS
    assert draft.exposure.gross_others_units == gross + added
    assert draft.exposure.net_long_units == long + (added if side is Side.BUY else 0)
    assert draft.exposure.net_short_units == short + (added if side is Side.SELL else 0)
