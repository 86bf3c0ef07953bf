"""What one process does without a bus: the codec, risk's decision, a model's forecast."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import NamedTuple

from libs.common.codec import FIELDS, decode, entry_text, values
from libs.common.decider import Linked
from libs.common.events import Event, OrderIntent, Signal, Tick
from libs.common.record import Record, event_id
from libs.common.stepper import Local, Stepper
from tests.unit.risk.desk import SECOND, config, of, opened

PRICE = Decimal("61234.20")


def _each_us(call: Callable[[], object], times: int = 20_000) -> float:
    """Best of five rounds: what it costs when nothing disturbs it."""
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(times // 5):
            call()
        best = min(best, (time.perf_counter() - began) / (times // 5))
    return best * 1e6


def percentiles_us(samples_ns: list[int]) -> tuple[float, float]:
    ordered = sorted(samples_ns)
    return ordered[len(ordered) // 2] / 1000, ordered[len(ordered) * 99 // 100] / 1000


def tick_record() -> Record:
    levels = tuple((PRICE - i, Decimal("1.5")) for i in range(5))
    body = Tick(
        symbol="BTCUSDT", last=PRICE, bids=levels, asks=levels, volume=Decimal("0.5"), exchange_at=1, received_at=2
    )
    identity = event_id((("raw", 1),), "tick", "Tick", 0)
    return Record("tick", (1_704_088_800_000, 3), identity, 1, 1_704_088_800_000_000_000, (("raw", 1),), identity, body)


def codec() -> tuple[float, float]:
    """µs to encode and to decode a Tick with ten levels in its whole envelope."""
    record = tick_record()
    fields = [part for name, value in zip(FIELDS, values(record), strict=True) for part in (name.encode(), value)]
    entry = entry_text(record.entry).encode()
    return _each_us(lambda: values(record)), _each_us(lambda: decode("tick", entry, fields))


class Decided(NamedTuple):
    """(p50, p99) in µs over every sample of one run; none is left out but those that warm up."""

    signals: tuple[float, float]
    """Every second signal an entry, every second an exit."""
    entries: tuple[float, float]
    fixed: tuple[float, float]
    """Work of a fixed length, about as long as an entry, done in between: its p99 to its p50 is what this machine adds. No ratio
    to an entry is told, as the length is set before the run and the machine's pace changes in it."""


def decide(signals: int = 10_000, warm: int = 1_000) -> Decided:
    """Wall time of risk's decision on a signal, learning and envelopes apart: an entry that it approves (sizing, every limit, the
    approval), then the exit from it. Not processor time: asking for that is a system call, and costs what it measures."""
    wide = {
        name: Decimal(10**9) for name in ("order_rate", "signal_repeats", "fills_per_minute", "max_consecutive_losses")
    }
    desk = opened(
        config(
            auto_arm=True,
            max_daily_loss=Decimal("0.9"),
            max_weekly_loss=Decimal("0.9"),
            max_drawdown=Decimal("0.9"),
            **wide,
        ),
        equity="1000000",
    )
    samples: list[int] = []
    fixed: list[int] = []
    decided = desk.core.decide

    def timed(record: Record) -> Iterator[Event | Linked]:
        spent, made = 0, decided(record)
        while True:
            began = time.perf_counter_ns()
            yielded = next(made, None)
            spent += time.perf_counter_ns() - began
            if yielded is None:
                break
            yield yielded
        if isinstance(record.body, Signal):
            samples.append(spent)

    desk.core.decide = timed  # type: ignore[method-assign]
    gc.freeze()  # as the runtime does
    steps = 0
    for i in range(warm + signals):
        desk.out.clear()  # a service keeps no record either
        desk.later(SECOND // 5)
        desk.tick("60000")
        made = desk.signal("1" if i % 2 == 0 else "0")
        orders = of(made, OrderIntent)
        if not orders:
            raise SystemExit(f"expected risk to approve every signal of the bench, was {made}")
        desk.fill(orders[0], price=Decimal(60_000))
        if i == warm:
            steps = round(1_000 * percentiles_us(samples[::2])[0] / _each_us(lambda: _work(1_000), 500))
        if i >= warm and i % 2:
            began = time.perf_counter_ns()
            _work(steps)
            fixed.append(time.perf_counter_ns() - began)
    counted = samples[warm:]
    return Decided(percentiles_us(counted), percentiles_us(counted[::2]), percentiles_us(fixed))


def told(runs: list[tuple[float, float]]) -> str:
    """The run in the middle by its p99, and how far the others' lie apart."""
    ordered = sorted(runs, key=lambda run: run[1])
    p50_us, p99_us = ordered[len(ordered) // 2]
    return f"p50 {p50_us:.0f} µs, p99 {p99_us:.0f} µs ({ordered[0][1]:.0f} to {ordered[-1][1]:.0f} in {len(runs)} runs)"


def _work(steps: int) -> int:
    total = 0
    for i in range(steps):
        total += i * i
    return total


def step() -> float:
    """µs of the stepper for one input with one output, envelope included, codec apart."""
    from benchmarks.ours import Source
    from libs.common.events import RawFrame

    stepper = Stepper(Source(1))
    frame = Local(RawFrame(channel="public", payload="{}", request=0, received_at=1), 1_000_000)
    return _each_us(lambda: stepper.step([frame]))


def inference(rows: int = 2_000) -> tuple[float, float, float]:
    """(p50 µs flat, p50 µs scikit-learn, largest difference) of a forest of 200 trees on 20 features, one row at a time."""
    import warnings

    import numpy as np
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.frozen import FrozenEstimator

    from services.signal.trees import Flat

    chance = np.random.default_rng(7)
    x = chance.normal(size=(4_000, 20))
    y = np.digitize(x[:, 0] + 0.5 * x[:, 1] + chance.normal(size=4_000), (-0.5, 0.5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        forest = RandomForestClassifier(200, min_samples_leaf=20, random_state=7, n_jobs=1).fit(x[:3000], y[:3000])
        model = CalibratedClassifierCV(FrozenEstimator(forest), method="sigmoid").fit(x[3000:], y[3000:])
    flat = Flat(model)
    fast, slow, worst = [], [], 0.0
    for i in range(rows):
        row = x[i % len(x)]
        began = time.perf_counter_ns()
        found = flat(row.tolist())
        fast.append(time.perf_counter_ns() - began)
        if i % 100 == 0:
            began = time.perf_counter_ns()
            exact = model.predict_proba(row.reshape(1, -1))[0]
            slow.append(time.perf_counter_ns() - began)
            worst = max(worst, float(np.abs(np.asarray(found) - exact).max()))
    return percentiles_us(fast)[0], percentiles_us(slow)[0], worst
