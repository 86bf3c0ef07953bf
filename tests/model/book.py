"""The world of the risk core: the shipped `RiskCore`, an operator, and a venue that keeps its own books.

The venue counts positions, open orders and halts from the emitted events alone; T1 to T4 are judged on that count, never on
what the core believes. Limits of rate and repetition are set out of reach and their memory is erased: they can only refuse
entries, so the search is over more behaviour than the core has, not less. All fills are at one price without fees.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from libs.common import events as e
from libs.common import seal
from libs.common.decider import Linked
from libs.common.events import Event, Mode, OrderIntent, Purpose
from libs.common.portfolio import OWN
from libs.common.record import Record, Started
from libs.common.streams import RISK, stream_of
from services.risk import modes, orders
from services.risk.config import Allow, EntryStyle, RiskConfig
from services.risk.core import RiskCore
from services.risk.state import RiskState
from tests.model.collapse import Parts, Row, groups
from tests.model.search import TheoremError
from tests.unit.risk.desk import T0, D, Desk

SYMBOL = "BTCUSDT"
LOT = D("0.001")
CALM, CRASH = D(60_000), D(58_000)
KEYS = {name: seal.generate() for name in ("alice", "bob")}
STRATEGIES = ("a", "b", "c")
SEEDS = tuple(f"{n:04x}" * 8 for n in range(40))
TRIES = 2
"""Beyond this many an exit's price has reached the venue's limit and stays there."""


class Live(msgspec.Struct):
    """An approval that the venue has not ended."""

    link: str
    strategy: str
    sign: int
    lots: int
    reduce_only: bool
    done: int = 0


class Venue(msgspec.Struct):
    """The venue's own count of everything the theorems speak of."""

    now: int = T0
    lots: int = 0
    live: list[Live] = []
    late: list[Live] = []
    """Ended orders of which fills are still to be told: `lots` are those."""
    modes: dict[str, str] = {}
    halts: dict[str, str] = {}
    """Halt id by `scope/reason`."""
    limit: int = 0
    crashed: bool = False
    signed: dict[str, list[str]] = {}
    """Who has signed the resume of a halt, by its id (worlds that need two)."""
    budget: dict[str, int] = {}


LAYOUT = (
    groups(
        RiskState,
        ("ledger",),
        ("markets", "unrealised_units"),
        ("orders",),
        ("tasks", "pending", "stops"),
        ("blocks", "conditions", "clears_today", "liquidating", "signatures", "subject", "is_replayed"),
        ("now", "day", "week", "peak_units", "reconciled", "reconciled_at", "tick_at", "minute", "is_new_minute"),
        frozen=("limits", "file", "file_before"),
    ),
    groups(Venue),
)


class Book:
    """`letters` are methods by name; `budgets` bound how often a letter may occur in one sequence."""

    def __init__(
        self,
        name: str,
        letters: tuple[str, ...],
        *,
        limit: int = 3,
        budgets: dict[str, int] | None = None,
        operators: int = 1,
        **changes: Any,
    ) -> None:
        self.name, self.letters, self.limit = name, letters, limit
        self.budgets, self.operators = budgets or {}, operators
        self.seen: Counter[str] = Counter()
        self.settings = settings(limit, **changes)
        self.core = RiskCore(self.settings)
        self.at = Venue()
        self.letter = ""
        self.parts = Parts(LAYOUT, _names_in)
        self.verbs: dict[str, Callable[[], bool]] = {
            letter: getattr(self, f"_{letter.partition('_')[0]}") for letter in letters
        }

    # --- the search's side ---------------------------------------------------------------------------------------------

    def start(self) -> Row:
        desk = Desk(self.settings)
        self.core, self.at = desk.core, Venue(limit=self.limit, budget=dict(self.budgets))
        desk.put(Started(fresh=True), "timer")
        desk.instrument()
        desk.tick(CALM)
        desk.cash("10000")
        desk.reconcile()
        self.at.modes[modes.BOOK] = Mode.NORMAL.value
        for record in desk.halts():
            if isinstance(record.body, e.Halted) and f"book/{record.body.reason}" in self.core.state.blocks:
                self._halted(record.body, record.id)
        if (
            self.operators == 1
        ):  # a book that arms itself trades at once; one with two operators is searched from its birth
            self.at.modes[modes.BOOK], self.at.halts = Mode.NORMAL.value, {}
        return self._pack()

    def step(self, situation: Row, letter: str) -> Row | None:
        self.parts.unpack(situation, self.core.state, self.at)
        at, self.letter = self.at, letter
        budget = at.budget.get(letter)
        if budget == 0:
            return None
        before = (self._used(1), self._used(-1))
        if not self.verbs[letter]():  # and then it has touched nothing
            return None
        if budget is not None:
            at.budget[letter] = budget - 1
        self._judge(before)
        return self._pack()

    def _pack(self) -> Row:
        state = self.core.state
        for memory in (state.repeats, state.nonces, state.refusals, state.entries_at, state.slices_at, state.fills_at):
            memory.clear()
        state.steps = state.ledger.trips = state.ledger.trips_won = 0
        for task in state.tasks.values():
            task.tries = min(task.tries, TRIES)
        return self.parts.pack(state, self.at)

    # --- the core's side -------------------------------------------------------------------------------------------------

    def _put(self, body: Event, stream: str) -> list[Event]:
        """One record in, its outputs learnt and judged. Names are the first free ones, so that situations meet again."""
        at, seed = self.at, self._free()
        record = Record(stream, (0, 0), seed, 0, at.now, (("in", 0),), seed, body)
        self.core.evolve(record)
        made: list[Event] = []
        for index, yielded in enumerate(self.core.decide(record)):
            bare = yielded.body if isinstance(yielded, Linked) else yielded
            name = f"{seed[:28]}{index:02x}"
            self.core.evolve(Record(stream_of(type(bare), RISK), (0, 0), name, 0, at.now, record.cause, seed, bare))
            self._learn(bare, name)
            made.append(bare)
        return made

    def _free(self) -> str:
        """The first seed of which the situation before this letter holds no trace, at the core or at the venue."""
        used = self.parts.used()
        return SEEDS[(~used & (used + 1)).bit_length() - 1]

    def _learn(self, event: Event, name: str) -> None:
        at = self.at
        match event:
            case e.Halted():
                self._halted(event, name)
            case e.ModeChanged(scope=scope, new=new):
                at.modes[scope] = new.value
            case e.Resumed(halt_id=halt_id, scope=scope, mode=mode):
                self._resumed(halt_id)
                at.modes[scope] = mode.value
            case e.LimitChanged(limits=limits):
                at.limit = int(limits["max_position_size"] / LOT)
            case OrderIntent():
                self._approved(event)
            case _:
                pass

    def _halted(self, event: e.Halted, name: str) -> None:
        self.seen["halts"] += 1
        self.at.halts[f"{event.scope}/{event.reason}"] = name
        self.at.modes[event.scope] = event.mode.value

    def _resumed(self, halt_id: str) -> None:
        """T3: only a valid seal over a standing halt lifts it, in live stages the second of two."""
        at = self.at
        demand(self.letter.startswith("resume"), "T3: resumed by something else than a resume")
        standing = [key for key, name in at.halts.items() if name == halt_id]
        demand(bool(standing), "T3: resumed a halt that does not stand")
        signed = {*at.signed.pop(halt_id, ()), self.letter.partition("_")[2] or "alice"}
        demand(len(signed) >= self.operators, "T3: resumed without enough operators")
        self.seen["resumes"] += 1
        for key in standing:
            del at.halts[key]

    def _approved(self, order: OrderIntent) -> None:
        """T1 for an entry, the second half of T4 for an exit."""
        at, sign, lots = self.at, order.side.sign, int(order.qty / LOT)
        demand(order.reduce_only == (order.purpose is not Purpose.ENTRY), "an exit that is not reduce-only")
        if order.reduce_only:
            closing = sum(o.lots - o.done for o in at.live if o.reduce_only and o.sign == sign)
            demand(0 < lots <= -at.lots * sign - closing, "T4: an exit that would grow the position")
            demand(
                at.modes.get(modes.BOOK) != Mode.LIQUIDATING or order.strategy == OWN,
                "T4: not risk's own in LIQUIDATING",
            )
            self.seen["exits"] += 1
            self.seen["exits below NORMAL"] += any(mode != Mode.NORMAL for mode in at.modes.values())
        else:
            scopes = (modes.BOOK, f"symbol:{order.symbol}", f"strategy:{order.strategy}")
            barred = [key for key in at.halts if key.partition("/")[0] in scopes]
            demand(not barred, f"T1: an entry while {barred} stands")
            demand(all(at.modes.get(s, "NORMAL") == Mode.NORMAL for s in scopes), "T1: an entry outside NORMAL")
            self.seen["entries"] += 1
        demand(all(o.link != order.order_link_id for o in (*at.live, *at.late)), "T6: one id approved twice")
        at.live.append(Live(order.order_link_id, order.strategy, sign, lots, order.reduce_only))

    def _used(self, sign: int) -> int:
        """What one side may come to, by the venue's count: held, open and not reduce-only, traded but untold."""
        at = self.at
        used = max(at.lots * sign, 0)
        for order in at.live:
            if order.sign == sign and not order.reduce_only:
                used += order.lots - order.done
        for order in at.late:
            if order.sign == sign and not order.reduce_only:
                used += order.lots
        return used

    def _judge(self, before: tuple[int, int]) -> None:
        """T2 on both sides; T3: every halt that no resume has named still stands in the core."""
        at, state = self.at, self.core.state
        for sign, used in zip((1, -1), before, strict=True):
            demand(self._used(sign) <= max(at.limit, used), "T2: more than the limit on one side")
        demand(state.ledger.lots(SYMBOL) == at.lots, "the core's position is not the venue's")
        standing = {f"{b.scope}/{b.reason}": b.halt_id for b in state.blocks.values() if b.halt_id}
        demand(standing == at.halts, "T3: the core forgot a halt, or made one up")
        for scope, mode in at.modes.items():
            demand(modes.scope_mode(state, scope) == mode, f"T3: {scope} is not in the mode that was told")
        self.seen["situations below NORMAL"] += any(mode != Mode.NORMAL for mode in at.modes.values())


def demand(holds: bool, theorem: str) -> None:
    if not holds:
        raise TheoremError(theorem)


def _names() -> Iterator[tuple[bytes, int]]:
    """Every order id that the core may derive from a seed, and the seed's bit."""
    subjects = [f"{owner}|{SYMBOL}" for owner in (*STRATEGIES, OWN)]
    for bit, seed in enumerate(SEEDS):
        yield from (
            (orders.link_id(seed, purpose, each).encode(), 1 << bit) for purpose in Purpose for each in subjects
        )


_LINKS = dict(_names())
_LINK = re.compile(rb"tg-[0-9a-f]{30}")
"""An order id where a part holds one."""
assert all(_LINK.fullmatch(link) for link in _LINKS)
_STEMS = [(seed[:28].encode(), 1 << bit) for bit, seed in enumerate(SEEDS)]


def _names_in(text: bytes) -> int:
    """Bits of the seeds of which a part holds a trace."""
    bits = 0
    for link in _LINK.findall(text):
        bits |= _LINKS.get(link, 0)
    for stem, bit in _STEMS:
        if stem in text:
            bits |= bit
    return bits


def settings(limit: int, **changes: Any) -> RiskConfig:
    """Sizes of two lots a strategy; rates out of reach; a crash with three lots reaches the daily loss."""
    allow = {name: Allow(symbols=(SYMBOL,)) for name in STRATEGIES}
    fields: dict[str, Any] = {
        "allow": allow, "allocation": dict.fromkeys(STRATEGIES, D("0.0016")), "max_position_size": limit * LOT,
        "max_daily_loss": D("0.0005"), "auto_arm": True, "quiet_ms": 1000, "min_resize": D(0),
        "order_rate": D(10**6), "signal_repeats": D(10**6), "fills_per_minute": D(10**6), "velocity": D(10**6),
        "entry": {"b": EntryStyle(style="post_only", ttl_ms=1000)},
        "operator_keys": {name: public for name, (_, public) in KEYS.items()},
    }  # fmt: skip
    return RiskConfig(**(fields | changes))
