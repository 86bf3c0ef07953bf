"""The decisions of marketdata: frames in; ticks, candles, references, instruments and findings out.

Frames change the state in `evolve`; what they give to publish waits in the state (`pending`, `ready`, `down`, `up`)
until `decide` has yielded it within the same step. `settle` conflates: at most one Tick and one Reference per symbol
and batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import msgspec

from libs.common import streams
from libs.common.decider import Core, Request
from libs.common.events import (
    Bar,
    DataRejected,
    Event,
    FeedDown,
    FeedUp,
    Heartbeat,
    Instant,
    InstrumentChanged,
    InstrumentDefined,
    MaintenancePlanned,
    RawFrame,
    Reference,
    RejectKind,
    Tick,
)
from libs.common.record import Record, Started, Timer
from libs.common.values import LINEAR, category_of, symbol_of
from services.marketdata import calls, frames, maintenance, replies
from services.marketdata.bars import Bars, Gap, Series
from services.marketdata.calls import Call, Calls
from services.marketdata.config import NS_PER_MS, MarketdataConfig
from services.marketdata.firewall import Firewall
from services.marketdata.market import READERS, Findings, Market, reference, tick

_NS_PER_MINUTE = 60_000_000_000
FORBIDDEN = 403
_ATTEMPTS = 6
"""Calls for the same history; at the default span the last comes after a little more than a minute."""


class MarketdataState(msgspec.Struct):
    markets: dict[str, Market]
    calls: Calls = msgspec.field(default_factory=Calls)
    firewall: Firewall = msgspec.field(default_factory=Firewall)
    defined: list[InstrumentDefined] = []
    changed: list[InstrumentChanged] = []
    """Instruments to publish in this step."""
    plans: maintenance.Plans = msgspec.field(default_factory=maintenance.Plans)
    now: int = 0
    window_ms: int = 0
    """Length of an instant in a tape run: data cannot come more often."""
    beat_at: int = 0


class MarketdataCore(Core):
    service: ClassVar[str] = streams.MARKETDATA
    State: ClassVar[Any] = MarketdataState
    state: MarketdataState

    def __init__(self, config: MarketdataConfig) -> None:
        self.config = config
        spans = config.interval_spans
        self.state = MarketdataState(
            {symbol: Market(symbol, Bars(symbol, [Series(span) for span in spans])) for symbol in config.symbols}
        )

    def evolve(self, record: Record) -> None:
        state, body = self.state, record.body
        match body:
            case RawFrame():
                state.now = record.at
                self._receive(body, record.at)
            case Tick():
                self._ticked(body, record.at)
            case Reference():
                quote = state.markets[body.symbol].quote
                quote.changed, quote.published_at = False, record.at
            case Instant() | Timer():
                state.now = record.at
                state.window_ms = body.window_ms if isinstance(body, Instant) else 0
                self._elapse(record.at)
            case Started():
                state.now = record.at
                self._start(record.at)
            case _:
                self._published(body, record.at)

    def decide(self, record: Record) -> Iterator[Event]:
        if isinstance(record.body, RawFrame | Instant | Timer | Started):
            yield from self._waiting()
        if (
            isinstance(record.body, Instant | Timer)
            and record.at // _NS_PER_MINUTE != self.state.beat_at // _NS_PER_MINUTE
        ):
            yield self._heartbeat()

    def settle(self) -> Iterator[Event]:
        now = self.state.now
        for market in self.state.markets.values():
            if market.quote.changed and (found := reference(market, now, self.config)) is not None:
                yield found
            if market.usable and (event := tick(market, now, self.config)) is not None:
                yield event

    def requests(self) -> list[Request]:
        pending = self.state.calls.pending
        return [calls.request(pending[number], self.config.depth) for number in sorted(pending)]

    def restore(self, snapshot: bytes) -> None:
        """Symbols that are new in the settings begin empty, those that are gone are forgotten; other intervals begin anew."""
        fresh = self.state.markets
        super().restore(snapshot)
        known = self.state.markets
        self.state.markets = {symbol: known.get(symbol, market) for symbol, market in fresh.items()}
        for symbol, market in self.state.markets.items():
            if [series.span for series in market.bars.series] != self.config.interval_spans:
                market.bars = fresh[symbol].bars

    # --- what came from outside ----------------------------------------------------------------------------------

    def _receive(self, body: RawFrame, now: int) -> None:
        match body.channel:
            case "public":
                self._frame(body, now)
            case "reply" | "lost":
                call = self.state.calls.pending.pop(body.request, None)
                if body.status == FORBIDDEN:
                    self.state.calls.forbidden(now)
                if call is not None and call.kind == calls.STATUS:
                    self._status(body.payload if body.channel == "reply" else "", now)
                    return
                market = self.state.markets.get(call.symbol) if call is not None else None
                if (
                    call is not None and market is not None and call.kind != calls.RESUBSCRIBE
                ):  # a snapshot answers that one
                    self._answer(market, call, body.payload if body.channel == "reply" else "", now)
            case "connected":
                for market in self._of_stream(body.category):  # the driver has subscribed everything anew
                    self.state.calls.drop(calls.RESUBSCRIBE, market.symbol)
                    market.book_lost_at = now
            case "disconnected":
                for market in self._of_stream(body.category):
                    market.book.lose()
                    market.feed.fall(market.symbol, now, "disconnected")

    def _of_stream(self, category: str) -> list[Market]:
        """Markets whose frames come over the stream of this category."""
        wanted = category or LINEAR
        return [market for market in self.state.markets.values() if category_of(market.symbol) == wanted]

    def _frame(self, body: RawFrame, now: int) -> None:
        findings = Findings(self.state.firewall, self.config, now)
        symbol = ""
        try:
            frame = frames.frame(body.payload)
            if not frame.topic:
                if not frame.success:
                    findings.reject("", RejectKind.MALFORMED, "an accepted subscription", frame.ret_msg)
                return
            kind, _, _ = frame.topic.partition(".")
            symbol = symbol_of(frame.topic.rpartition(".")[2], body.category)
            market, read = self.state.markets.get(symbol), READERS.get(kind)
            if market is None or read is None:
                findings.reject(symbol, RejectKind.MALFORMED, "a configured symbol and topic", frame.topic)
            elif read(market, frame, findings):
                self._accepted(market, frame, body.received_at or now, findings)
            elif not market.book.synced and not market.book_lost_at:
                self._resubscribe(market, now)
        except msgspec.DecodeError as e:
            findings.reject(symbol, RejectKind.MALFORMED, str(e)[:120], body.payload)

    def _accepted(self, market: Market, frame: frames.Frame, received_at: int, findings: Findings) -> None:
        """A frame was taken in: is it fresh enough to act on, and is the feed up again?"""
        delay_ms = received_at // NS_PER_MS - frame.ts
        if delay_ms > self.config.stale_ms:
            got = f"{frame.topic} {delay_ms} ms old"
            findings.reject(market.symbol, RejectKind.STALE, f"at most {self.config.stale_ms} ms", got)
            return
        feed = market.feed
        feed.delay_ms = max(feed.delay_ms, delay_ms)
        feed.alive_at = findings.now
        market.usable = True
        market.received_at = received_at
        market.exchange_at = max(market.exchange_at, (frame.cts or frame.ts) * NS_PER_MS)
        if market.book.synced:
            if self.state.calls.pending:
                self.state.calls.drop(calls.RESUBSCRIBE, market.symbol)
            if feed.rise(market.symbol, findings.now):
                market.bars.distrust(findings.now)
                market.ticked_at = 0  # show the market again, changed or not

    def _resubscribe(self, market: Market, now: int) -> None:
        market.book_lost_at = now
        self.state.calls.drop(calls.RESUBSCRIBE, market.symbol)
        self.state.calls.add(calls.RESUBSCRIBE, market.symbol, now)

    def _answer(self, market: Market, call: Call, payload: str, now: int) -> None:
        """A REST reply, or none: a failed call is made again later, history at most `_ATTEMPTS` times in a row."""
        try:
            result = frames.result(payload)
            if call.gap is None:
                self._instrument(market, replies.instrument(result, call.symbol, now))
            else:
                market.bars.filled(call.gap, replies.candles(result))
                market.history_failures = market.history_after = 0
        except msgspec.DecodeError as e:
            self._unreadable(call.symbol, str(e), payload or f"no reply to {call.kind}", now)
            if call.gap is not None:
                self._history_failed(market, call.gap, now)
        self._ask_history(market, now)

    def _status(self, payload: str, now: int) -> None:
        """When the exchange will be down; without an answer it is asked again at the next turn."""
        try:
            maintenance.learn(self.state.plans, self.config, frames.result(payload))
        except msgspec.DecodeError as e:
            self._unreadable("", str(e), payload or f"no reply to {calls.STATUS}", now)

    def _unreadable(self, symbol: str, expected: str, got: str, now: int) -> None:
        self.state.calls.failed += 1
        Findings(self.state.firewall, self.config, now).reject(symbol, RejectKind.MALFORMED, expected[:120], got)

    def _history_failed(self, market: Market, gap: Gap, now: int) -> None:
        """Wait longer each time; in the end live candles go on without what is missing."""
        market.history_failures += 1
        if market.history_failures < _ATTEMPTS:
            market.history_after = now + market.history_failures * self.config.resync_ms * NS_PER_MS
        else:
            market.history_failures = market.history_after = 0
            market.bars.filled(gap, [])

    def _instrument(self, market: Market, found: InstrumentDefined) -> None:
        known = market.instrument
        if known is None:
            self.state.defined.append(found)
        elif msgspec.structs.replace(found, effective_from_at=known.effective_from_at) != known:
            self.state.changed.append(InstrumentChanged(**msgspec.structs.asdict(found)))
        else:
            return
        market.instrument = found

    # --- time ----------------------------------------------------------------------------------------------------

    def _start(self, now: int) -> None:
        """This process took over: earlier requests are void, books and candles need the venue."""
        self.state.calls.pending.clear()
        for market in self.state.markets.values():
            market.book.lose()
            market.book_lost_at = now
            market.feed.alive_at = now
            market.instrument_at = now
            market.history_failures = market.history_after = 0
            if now >= self.state.calls.silent_until:
                self.state.calls.add(calls.INSTRUMENT, market.symbol, now)
            if market.bars.begun:
                market.bars.distrust(now)
            else:
                market.bars.begin(now, self.config.warmup_bars)
            self._ask_history(market, now)

    def _elapse(self, now: int) -> None:
        if now >= self.state.calls.silent_until:
            self._ask(now)
        for market in self.state.markets.values():
            self._watch(market, now)
            if not market.feed.down_at and market.book.synced:
                # in a tape run the frames of a window come after its instant: wait for them
                market.bars.elapse(now, max(self.config.bar_grace_ms, self.state.window_ms) * NS_PER_MS)
            self._ask_history(market, now)

    def _ask(self, now: int) -> None:
        """What is asked again and again: when the exchange will be down, and what its instruments are."""
        state = self.state
        if maintenance.is_due(state.plans, self.config, now) and not state.calls.has(calls.STATUS, ""):
            state.plans.asked_at = now
            state.calls.add(calls.STATUS, "", now)
        for market in state.markets.values():
            wait = self.config.resync_ms if market.instrument is None else self.config.instrument_refresh_ms
            is_due = now - market.instrument_at >= wait * NS_PER_MS
            if is_due and not state.calls.has(calls.INSTRUMENT, market.symbol):
                market.instrument_at = now
                state.calls.add(calls.INSTRUMENT, market.symbol, now)

    def _watch(self, market: Market, now: int) -> None:
        """Silence, and a snapshot that does not come."""
        cadence_ms = self.config.cadence(market.symbol)
        if self.state.window_ms:
            cadence_ms = max(cadence_ms, self.config.tape_cadence_ms, self.state.window_ms)
        if market.feed.alive_at and now - market.feed.alive_at > 3 * cadence_ms * NS_PER_MS:
            market.feed.fall(market.symbol, now, "silence")
        if market.book_lost_at and now - market.book_lost_at >= self.config.resync_ms * NS_PER_MS:
            self._resubscribe(market, now)

    def _ask_history(self, market: Market, now: int) -> None:
        """Put the history that the candles want on the list of calls; an empty span needs no call."""
        not_before = max(market.history_after, self.state.calls.silent_until)
        if not market.bars.filling or now < not_before or self.state.calls.has(calls.HISTORY, market.symbol):
            return
        while (gap := market.bars.gap(now)) is not None:
            if gap.start_at < gap.end_at:
                self.state.calls.add(calls.HISTORY, market.symbol, now, gap)
                return
            market.bars.filled(gap, [])

    # --- what goes out -------------------------------------------------------------------------------------------

    def _waiting(self) -> Iterator[Event]:
        """Everything that the input gave to publish; `_published` takes each away as it is yielded."""
        state = self.state
        yield from [*state.firewall.pending, *state.defined, *state.changed, *state.plans.ready]
        for market in state.markets.values():
            feed, bars = market.feed, market.bars
            if feed.down or feed.up or bars.ready:
                yield from [*feed.down, *feed.up, *bars.ready]

    def _published(self, body: Event, now: int) -> None:
        state = self.state
        match body:
            case DataRejected():
                state.firewall.pending.pop(0)
            case Bar():
                state.markets[body.symbol].bars.ready.pop(0)
            case FeedDown():
                state.markets[body.symbol].feed.down.pop(0)
            case FeedUp():
                state.markets[body.symbol].feed.up.pop(0)
            case InstrumentChanged():  # before its base class
                state.changed.pop(0)
            case InstrumentDefined():
                state.defined.pop(0)
            case MaintenancePlanned():
                maintenance.published(state.plans, body)
            case Heartbeat():
                self._beaten(now)

    def _ticked(self, body: Tick, now: int) -> None:
        market = self.state.markets[body.symbol]
        market.bids, market.asks, market.last = body.bids, body.asks, body.last
        market.volume -= body.volume
        market.usable, market.ticked_at = False, now

    def _heartbeat(self) -> Heartbeat:
        state = self.state
        return Heartbeat(
            service=self.service,
            api_requests=state.calls.sent,
            api_errors=state.calls.failed,
            feed_delay_ms=max((market.feed.delay_ms for market in state.markets.values()), default=0),
        )

    def _beaten(self, now: int) -> None:
        state = self.state
        state.beat_at, state.calls.sent, state.calls.failed = now, 0, 0
        for market in state.markets.values():
            market.feed.delay_ms = 0
