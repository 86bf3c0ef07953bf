"""Monitor's core: learns everything, writes alerts when a condition begins or ends, and a heartbeat a minute."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from libs.common.decider import Core
from libs.common.events import AlertCleared, AlertRaised, Event, Heartbeat, Instant
from libs.common.record import Record, Timer
from services.monitor import view
from services.monitor.alerts import NS_PER_MS, conditions
from services.monitor.config import MonitorConfig
from services.monitor.projection import LEARN

MARKET = frozenset(("tick", "bar", "reference", "venue", "instrument", "alert", "health:monitor"))
"""Streams whose records change no condition by themselves: what they bring is judged with the next tick of time."""
FORGET_MS = 5_000
"""An approval that was not submitted this long after its expiry never will be."""


class MonitorCore(Core):
    service: ClassVar[str] = "monitor"
    State: ClassVar[type[view.State]] = view.State
    state: view.State

    def __init__(self, config: MonitorConfig) -> None:
        self.config = config
        self.state = view.State()

    def evolve(self, record: Record) -> None:
        state, body = self.state, record.body
        if record.at > state.now:
            state.now = record.at
        state.started_at = state.started_at or record.at
        learn = LEARN.get(type(body))
        if learn is not None:
            learn(state, record, body)
        elif type(body) in (Instant, Timer):
            self._forget_expired()

    def decide(self, record: Record) -> Iterator[Event]:
        kind = type(record.body)
        is_time = kind is Instant or kind is Timer
        if not is_time and record.stream in MARKET and kind.__name__ not in ("FeedDown", "FeedUp"):
            return
        wanted, standing = conditions(self.state, self.config), self.state.alerts
        ended = [name for name in standing if name not in wanted]
        begun = [(name, alert) for name, alert in wanted.items() if name not in standing]
        for name in ended:
            yield AlertCleared(name=name)
        for name, alert in begun:
            yield AlertRaised(name=name, severity=alert.severity, summary=alert.summary)
        if is_time and record.at - self.state.beat_at >= self.config.heartbeat_ms * NS_PER_MS:
            yield self._heartbeat()

    def settle(self) -> Iterator[Event]:
        self.state.steps += 1
        return iter(())

    def _heartbeat(self) -> Heartbeat:
        return Heartbeat(service=self.service, commits=self.state.steps)

    def _forget_expired(self) -> None:
        """An approval nobody submitted (the gate was closed) has no outcome of its own."""
        orders = self.state.orders
        horizon = self.state.now - FORGET_MS * NS_PER_MS
        stale = [
            k for k, order in orders.items() if order.status is view.OrderStatus.APPROVED and order.expires_at < horizon
        ]
        for link in stale:
            del orders[link]
