"""The risk service: every signal judged, every limit watched, every exit let through. Pure: records in, events out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import msgspec

from libs.common.decider import Core, Linked
from libs.common.events import Event, OrderIntent
from libs.common.record import GapFound, Record
from libs.common.streams import RISK, SIGNAL, outputs_of
from services.risk import facts, reactions, valuation
from services.risk.config import STAGE_SHARES, RiskConfig
from services.risk.state import NS_PER_MS, RiskState

TIMELESS = frozenset(("command", *outputs_of(RISK), *outputs_of(SIGNAL)))
"""Streams whose `at` says nothing of the book's time: an operator's clock, echoes, and all that comes from strategies, whom
nobody has to trust: a day that they made up would forgive a loss."""


class RiskCore(Core):
    """Looks the handler of a record's type up: `facts.LEARN` to evolve, `reactions.REACT` to decide."""

    service: ClassVar[str] = RISK
    State: ClassVar[Any] = RiskState
    state: RiskState

    def __init__(self, config: RiskConfig) -> None:
        self.config = config
        self.state = RiskState(limits=config.limits, stage=config.stage, share=STAGE_SHARES[config.stage])
        valuation.set_ratios(self.state)

    def evolve(self, record: Record) -> None:
        body = record.body
        if record.stream not in TIMELESS and not isinstance(body, GapFound):
            facts.advance(self.state, self.config, record.at)
        learn = facts.LEARN.get(type(body))
        if learn is not None:
            learn(self.state, self.config, body, record)

    def decide(self, record: Record) -> Iterator[Event | Linked]:
        react = reactions.REACT.get(type(record.body))
        made = react(self.state, self.config, record.body, record) if react is not None else iter(())
        return made if record.at >= self.state.now else _of_old_news(made, record.at, self.config)


def _of_old_news(made: Iterator[Event | Linked], at: int, config: RiskConfig) -> Iterator[Event | Linked]:
    """What was overtaken by later news, a timer or a fill: an approval lasts as long as any other counted from `at`, which it
    bears and which execution takes for the moment it was made."""
    until = at + config.intent_ttl_ms * NS_PER_MS
    for event in made:
        body = event.body if isinstance(event, Linked) else event
        if isinstance(body, OrderIntent) and body.expires_at > until:
            body = msgspec.structs.replace(body, expires_at=until)
        yield msgspec.structs.replace(event, body=body) if isinstance(event, Linked) else body
