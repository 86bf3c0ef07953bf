"""The streams: who alone writes each, who reads it, which events it carries. Everything else is generated from this table.

Keys are `{<shard>}:<name>`; the braces are a Redis Cluster hash tag, so that one commit touches one slot. `{md}` carries
market data, `{<book>}` one trading book. Bare names (`tick`, `health:risk`) appear in causes, reports and exports.
"""

from __future__ import annotations

from dataclasses import dataclass

from libs.common import events as e
from libs.common.events import Event

MARKETDATA, SIGNAL, RISK, EXECUTION, MONITOR = "marketdata", "signal", "risk", "execution", "monitor"
SERVICES = (MARKETDATA, SIGNAL, RISK, EXECUTION, MONITOR)

LOCKSTEP_SERVICES = (MARKETDATA, SIGNAL, RISK, EXECUTION)
"""The services whose deliveries a tape run counts; monitor reads at its own pace."""

DRIVER, OPERATORS, TRAINER, WATCHDOG = "driver", "operators", "trainer", "watchdog"
GATE_WRITER, GATE_READERS = RISK, (EXECUTION,)
"""Who sets the halt flag, and whose commits it guards."""

MD, BOOK = "md", "book"


@dataclass(frozen=True)
class Stream:
    """One row: `shard` is MD or BOOK; `readers` are services (the replay and people read everything)."""

    name: str
    shard: str
    writer: str
    readers: tuple[str, ...]
    events: tuple[type[Event], ...]


def _health(service: str, shard: str) -> Stream:
    readers = {MONITOR: (), RISK: (MONITOR,)}.get(service, (RISK, MONITOR))
    return Stream(f"health:{service}", shard, service, readers, (e.Heartbeat,))


STREAMS: tuple[Stream, ...] = (
    Stream("clock", MD, DRIVER, SERVICES, (e.Instant,)),
    Stream(
        "instrument",
        MD,
        MARKETDATA,
        (SIGNAL, RISK, EXECUTION, MONITOR),
        (e.InstrumentDefined, e.InstrumentChanged, e.MaintenancePlanned),
    ),
    Stream("tick", MD, MARKETDATA, (SIGNAL, RISK, MONITOR), (e.Tick, e.FeedDown, e.FeedUp, e.DataRejected)),
    Stream("bar", MD, MARKETDATA, (SIGNAL, MONITOR), (e.Bar,)),
    Stream("reference", MD, MARKETDATA, (SIGNAL, RISK, MONITOR), (e.Reference,)),
    Stream("raw", MD, MARKETDATA, (), (e.RawFrame,)),
    Stream("signal", BOOK, SIGNAL, (RISK, MONITOR), (e.Signal,)),
    Stream(
        "order-intent", BOOK, RISK, (EXECUTION, MONITOR), (e.OrderIntent, e.AmendIntent, e.CancelIntent, e.OrderRefused)
    ),
    Stream(
        "order",
        BOOK,
        EXECUTION,
        (RISK, MONITOR),
        (e.OrderSubmitted, e.OrderAccepted, e.OrderRejected, e.OrderCancelled, e.OrderUnknown, e.OrderResolved),
    ),
    Stream("fill", BOOK, EXECUTION, (RISK, SIGNAL, MONITOR), (e.Fill, e.FundingPaid)),
    Stream("venue", BOOK, EXECUTION, (MONITOR,), (e.VenueMessage,)),
    Stream(
        "account",
        BOOK,
        EXECUTION,
        (RISK, MONITOR),
        (
            e.AccountSnapshot,
            e.Reconciled,
            e.Mismatch,
            e.ForeignOrder,
            e.PositionAdjusted,
            e.CashMoved,
            e.FeeDiffers,
            e.FlatConfirmed,
        ),
    ),
    Stream("halt", BOOK, RISK, (EXECUTION, SIGNAL, MONITOR), (e.Halted, e.ModeChanged, e.Resumed, e.CommandRefused)),
    Stream(
        "portfolio",
        BOOK,
        RISK,
        (SIGNAL, MONITOR),
        (
            e.PortfolioMarked,
            e.CapitalAllocated,
            e.LimitChanged,
            e.LooserLimitsIgnored,
            e.StakeTransferred,
            e.StageChanged,
            e.UpgradeOpened,
            e.ModelBlocked,
        ),
    ),
    Stream(
        "command",
        BOOK,
        OPERATORS,
        (RISK, SIGNAL, MONITOR),
        (
            e.HaltRequested,
            e.ResumeRequested,
            e.FlattenRequested,
            e.PauseRequested,
            e.LimitChange,
            e.StageChange,
            e.UpgradeWindow,
            e.ModelPromote,
            e.ModelRollback,
        ),
    ),
    Stream(
        "model",
        BOOK,
        SIGNAL,
        (RISK, MONITOR),
        (e.DriftMeasured, e.ModelPromoted, e.ModelRolledBack, e.ModelRefused, e.ModelEvaluated, e.StrategyFailed),
    ),
    Stream("training", BOOK, TRAINER, (SIGNAL, MONITOR), (e.ModelTrained,)),
    _health(MARKETDATA, MD),
    _health(SIGNAL, BOOK),
    _health(RISK, BOOK),
    _health(EXECUTION, BOOK),
    _health(MONITOR, BOOK),
    Stream("watchdog", BOOK, WATCHDOG, (MONITOR,), (e.WatchdogActed,)),
    Stream("alert", BOOK, MONITOR, (), (e.AlertRaised, e.AlertCleared)),
)

BY_NAME: dict[str, Stream] = {stream.name: stream for stream in STREAMS}

_STREAM_OF: dict[type[Event], str] = {
    kind: stream.name for stream in STREAMS for kind in stream.events if kind is not e.Heartbeat
}


def stream_of(kind: type[Event], service: str) -> str:
    """Bare name of the stream that `service` writes an event of this type to.

    Raises KeyError for a type of no stream, PermissionError when the stream has another writer.
    """
    name = f"health:{service}" if kind is e.Heartbeat else _STREAM_OF[kind]
    if BY_NAME[name].writer != service:
        raise PermissionError(f"expected {name} to be written by {BY_NAME[name].writer}, was {service}")
    return name


def inputs_of(service: str) -> tuple[str, ...]:
    """Bare names of the streams that a service reads, in table order."""
    return tuple(stream.name for stream in STREAMS if service in stream.readers)


def outputs_of(service: str) -> tuple[str, ...]:
    """Bare names of the streams that a service alone writes, in table order."""
    return tuple(stream.name for stream in STREAMS if stream.writer == service)


def key(name: str, book: str) -> str:
    """Redis key of a stream: `tick` -> `{md}:tick`, `order` -> `{main}:order`."""
    shard = "md" if BY_NAME[name].shard == MD else book
    return f"{{{shard}}}:{name}"


def service_key(kind: str, service: str, book: str) -> str:
    """Redis key of a service's own bookkeeping. `kind`: journal, snapshot, cursor, lease."""
    shard = "md" if service == MARKETDATA else book
    return f"{{{shard}}}:{kind}:{service}"


WAVE, BELL = "{md}:wave", "{md}:wave:bell"
"""A tape run's counters, and what is rung when everything delivered is settled. They exist in tape runs only."""

STAGERS = (DRIVER, OPERATORS, *LOCKSTEP_SERVICES)
"""Who stages outputs in a tape run, in the order in which they are released within a wave."""


def stage_key(writer: str) -> str:
    """Redis key of the list in which one writer of a tape run stages its outputs."""
    return f"{{md}}:wave:stage:{writer}"


def staged_of(writer: str) -> dict[str, int]:
    """Streams of a writer that wait for the next wave in a tape run, each with how many counted services read it."""
    counts = {s.name: sum(reader in LOCKSTEP_SERVICES for reader in s.readers) for s in STREAMS if s.writer == writer}
    return {name: count for name, count in counts.items() if count}


def gate_key(book: str) -> str:
    """Redis key of the halt flag: a hash scope -> `open` or the id of what closed it."""
    return f"{{{book}}}:gate"
