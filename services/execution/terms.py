"""The terms we trade on: modes and leverage asserted, fees and key read at the start and daily, protection armed where offered."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from libs.bybit import rest, vetting, wire
from libs.bybit.errors import Outcome
from libs.common.events import Event, FeeDiffers
from libs.common.values import LINEAR, SPOT, category_of, venue_name
from services.execution.calls import Kind, Pending
from services.execution.config import ExecutionConfig
from services.execution.state import Difference, Rates, State

MS = 1_000_000
DAY_NS = 86_400_000 * MS
POSITION_MODE = "one-way mode"
MARGIN_MODE = "margin mode"
DCP_PRODUCT, DCP_TOPIC = "DERIVATIVES", "dcp.future"
DEMO, SIM = "demo", "sim"
OURS = ("", SIM)
"""Venues whose keys open nothing."""
NO_DCP, ASKED, ARMED = "none", "asked", "armed"
FEE_TOLERANCE = Decimal("0.001")
"""Share by which a fee may miss rate times value: the venue rounds both."""
SMALLEST_FEE = Decimal("0.000001")
RATE = Decimal("0.0000001")


# --- asking -----------------------------------------------------------------------------------------------------------


def keep(state: State, config: ExecutionConfig) -> None:
    """Ask for what is not settled yet, with each round of the reconciliation; everything is a no-op at the venue when so already."""
    _assert_modes(state, config)
    terms, calls, now = state.terms, state.calls, state.now
    due = not terms.read_at or now - terms.read_at >= DAY_NS
    if due:
        terms.read_at = now
        for symbol in config.symbols:
            calls.add(Kind.FEES, rest.fee_rate(venue_name(symbol), category_of(symbol)), symbol, now)
    if (due or not terms.key_known) and not calls.under_way(Kind.KEY) and _asks_key(config):
        calls.add(Kind.KEY, rest.key_info(), "", now)
    if not terms.dcp and config.dcp_window_s and config.venue_class != DEMO and not state.instants:
        terms.dcp = ASKED
        calls.add(Kind.DCP, rest.dcp_info(), DCP_PRODUCT, now)


def _asks_key(config: ExecutionConfig) -> bool:
    return bool(config.check_key) or config.venue_class not in OURS


def _assert_modes(state: State, config: ExecutionConfig) -> None:
    said, calls = state.terms.said, state.calls
    wanted = {MARGIN_MODE: rest.account_info(), POSITION_MODE: rest.one_way_mode(config.settle_coin)}
    for symbol in config.symbols:
        if category_of(symbol) == LINEAR:
            wanted[f"leverage {symbol}"] = rest.set_leverage(symbol, config.leverage)
    for key, call in wanted.items():
        if said.get(key) != "ok" and not calls.under_way(Kind.SETUP, key):
            said.setdefault(key, "")
            calls.add(Kind.SETUP, call, key, state.now)


def connected(state: State) -> None:
    """A private stream begins: the topic of the protection must be on it, and the venue may have forgotten that it was armed."""
    if state.terms.dcp == ARMED:
        state.terms.dcp = ""


def changed_key(state: State) -> None:
    """Another key is in use: it is looked at before anything is agreed on."""
    state.terms.key_known, state.terms.key_faults, state.terms.key_created_ms = False, [], 0


# --- answers ----------------------------------------------------------------------------------------------------------


def answered(state: State, config: ExecutionConfig, pending: Pending, reply: rest.Reply | None) -> None:
    match pending.kind:
        case Kind.SETUP:
            _asserted(state, config, pending, reply)
        case Kind.FEES:
            _take_fees(state, pending.key, reply)
        case Kind.KEY:
            _take_key(state, config, reply)
        case Kind.DCP:
            _take_dcp(state, config, pending, reply)


def _asserted(state: State, config: ExecutionConfig, pending: Pending, reply: rest.Reply | None) -> None:
    said = state.terms.said
    if reply is None:
        said[pending.key] = ""
    elif reply.outcome not in (Outcome.OK, Outcome.BENIGN):
        said[pending.key] = f"{reply.code} {reply.message}"
    elif pending.request.method == "GET" and rest.account_info_of(reply.result).margin_mode != config.margin_mode:
        state.calls.add(Kind.SETUP, rest.set_margin_mode(config.margin_mode), pending.key, state.now)
    else:
        said[pending.key] = "ok"


def _take_fees(state: State, symbol: str, reply: rest.Reply | None) -> None:
    """Rates that were not told stay as they were; the next day asks again."""
    if reply is None or not reply.ok:
        return
    for row in rest.fee_rates_of(reply.result):
        if row.symbol in (venue_name(symbol), ""):
            state.terms.rates[symbol] = Rates(wire.amount(row.taker_fee_rate), wire.amount(row.maker_fee_rate))


def _take_key(state: State, config: ExecutionConfig, reply: rest.Reply | None) -> None:
    """Without an answer the key stays unknown, and is asked for again with the next round."""
    if reply is None or not reply.ok:
        return
    info = rest.key_info_of(reply.result)
    spot = any(category_of(symbol) == SPOT for symbol in config.symbols)
    state.terms.key_known = True
    state.terms.key_faults = vetting.key_faults(info, config.region, spot=spot)
    state.terms.key_created_ms = vetting.created_ms(info)


def _take_dcp(state: State, config: ExecutionConfig, pending: Pending, reply: rest.Reply | None) -> None:
    """Asked whether it is offered, then set, then the topic is subscribed: three answers in turn."""
    terms, request = state.terms, pending.request
    if reply is None:
        terms.dcp = ""
    elif request.method == "WS":
        terms.dcp = NO_DCP if reply.outcome is Outcome.BAD_REQUEST else ARMED
    elif not reply.ok:
        terms.dcp = NO_DCP
    elif request.method == "POST":
        state.calls.ask_stream(Kind.DCP, f"subscribe:{DCP_TOPIC}", DCP_PRODUCT)
    else:
        # An account that never set it lists nothing, offered or not: then setting it tells.
        told = {row.product: row for row in rest.dcp_of(reply.result)}.get(DCP_PRODUCT)
        if told is not None and told.dcp_status != "ON":
            terms.dcp = NO_DCP
        else:
            state.calls.add(Kind.DCP, rest.arm_dcp(config.dcp_window_s, DCP_PRODUCT), DCP_PRODUCT, state.now)


# --- judging ----------------------------------------------------------------------------------------------------------


def differences(state: State, config: ExecutionConfig) -> Iterator[Difference]:
    """What is not as it must be. A `venue` of "" is no disagreement yet: it was not told."""
    for key, said in state.terms.said.items():
        if said != "ok":
            yield Difference("setup", "", key, said)
    if config.check_key and not state.terms.key_known:
        yield Difference("key", "", "a key that was looked at", "")
    for fault in state.terms.key_faults if config.check_key else ():
        yield Difference("key", "", "a key that only trades", fault)


def place(config: ExecutionConfig, incarnation: str) -> Iterator[Difference]:
    """A host that is not Bybit's must be our simulator, which tells an incarnation."""
    if config.venue_class == SIM and not incarnation:
        yield Difference("venue", "", "the simulator", "another exchange")


def key_age_days(state: State, config: ExecutionConfig) -> int:
    """Of the key in use; 0 when it is not known, or the simulator's."""
    created_ms = state.terms.key_created_ms
    known = created_ms > 0 and config.venue_class not in OURS
    return max(0, state.now // MS - created_ms) // 86_400_000 if known else 0


def judge_fee(state: State, config: ExecutionConfig, symbol: str, done: wire.Execution) -> Iterator[Event]:
    """An alarm, once a rate, when a trade was charged otherwise than the venue said it would."""
    rates = state.terms.rates.get(symbol)
    value = done.qty if done.fee_coin not in ("", config.settle_coin) else done.qty * done.price
    if rates is None or value <= 0:
        return
    expected = rates.maker if done.is_maker else rates.taker
    if abs(done.fee - value * expected) <= abs(value * expected) * FEE_TOLERANCE + SMALLEST_FEE:
        return
    charged = (done.fee / value).quantize(RATE)
    if state.terms.alarmed.get(_fee_key(symbol, is_maker=done.is_maker)) != charged:
        yield FeeDiffers(
            symbol=symbol, exec_id=done.exec_id, is_maker=done.is_maker, expected=expected, charged=charged
        )


def learn_alarm(state: State, body: FeeDiffers) -> None:
    """Reported once; fees are asked for again with the next round."""
    state.terms.alarmed[_fee_key(body.symbol, is_maker=body.is_maker)] = body.charged
    state.terms.read_at = 0


def _fee_key(symbol: str, *, is_maker: bool) -> str:
    return f"{symbol} {'maker' if is_maker else 'taker'}"
