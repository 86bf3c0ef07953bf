"""The seeded synthetic market: calm, trend, chop, storm, a crash of at least 12 % and a recovery.

Everything is integer arithmetic on prices scaled by 1e6, so a seed gives the same tape on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from libs.common.errors import TapeError
from sim.chance import Chance
from sim.prints import Print

SCALE = 1_000_000
NS = 1_000_000_000
DEFAULT_START_MS = 1_704_088_800_000
"""2024-01-01 06:00 UTC, a Monday: the default tape of three hours meets one funding stamp (08:00)."""

OPENINGS = {"BTCUSDT": "60000", "ETHUSDT": "3000", "USDCUSDT": "1"}
"""Opening prices in USDT; any other symbol opens at 100."""


class SyntheticSpec(msgspec.Struct, frozen=True, kw_only=True):
    """`synthetic:seed=7,minutes=180,symbols=BTCUSDT+ETHUSDT,start=<ms UTC>,crash=14` (crash in percent; 0 for none)."""

    seed: int = 7
    minutes: int = 180
    symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT")
    start_ms: int = DEFAULT_START_MS
    crash: int = 14


class Regime(msgspec.Struct, frozen=True, gc=False):
    """A stretch of the tape. `share` in thousandths of its length; rates a second in 1e-6 of the price.

    `drift` trend, `noise` standard deviation, `swing` amplitude of a slow oscillation, `swing_s` its period.
    """

    name: str
    share: int
    drift: int
    noise: int
    swing: int = 0
    swing_s: int = 600


REGIMES = (
    Regime("calm", 90, 0, 35),
    Regime("trend up", 190, 9, 50),
    Regime("chop", 110, 0, 60, 8_000, 720),
    Regime("storm", 40, -3, 140),
    Regime("rally", 160, 9, 45),
    Regime("crash", 20, 0, 220),
    Regime("aftershock", 60, 2, 180),
    Regime("recovery", 150, 20, 90),
    Regime("chop", 100, 0, 60, 8_000, 720),
    Regime("calm", 80, 0, 35),
)


def parse(text: str) -> SyntheticSpec:
    """The spec of `synthetic:...`; unknown or unreadable keys are a TapeError."""
    values: dict[str, object] = {}
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        try:
            if key == "symbols":
                values[key] = tuple(filter(None, value.upper().split("+")))
            elif key in ("seed", "minutes", "crash"):
                values[key] = int(value)
            elif key == "start":
                values["start_ms"] = int(value)
            else:
                raise TapeError(f"synthetic tape: expected seed, minutes, symbols, start or crash, was {key!r}")
        except ValueError as error:
            raise TapeError(f"synthetic tape: expected an integer for {key}, was {value!r}") from error
    spec = SyntheticSpec(**values)  # type: ignore[arg-type]
    if spec.minutes < 1 or not spec.symbols or not 0 <= spec.crash <= 60 or spec.start_ms < 0:
        raise TapeError(
            f"synthetic tape: expected minutes >= 1, a symbol, crash of 0 to 60 and start >= 0, was {text!r}"
        )
    return spec


def prints(spec: SyntheticSpec, symbol: str, opening_ticks: int, lots_scale: int) -> Iterator[Print]:
    """The prints of one symbol, about three in two seconds. `lots_scale`: the average size of a print in lots.

    The common factor of all symbols is drawn from the seed alone, so they crash together.
    """
    common, own, flow = Chance(spec.seed, "common"), Chance(spec.seed, symbol), Chance(spec.seed, symbol, "flow")
    price = opening_ticks * SCALE
    start, before = spec.start_ms * 1_000_000, opening_ticks
    for second, regime, drift in _seconds(spec):
        shock = common.bell(regime.noise) * 4 // 5 + own.bell(regime.noise) * 3 // 5
        price += price * (drift + shock) // SCALE
        price = max(price, 100 * SCALE)
        target = price // SCALE
        count = 1 + (flow.bits() % 3 == 0) + (regime.noise > 150)
        for index in range(count):
            ticks = target if index == count - 1 else (before + target) // 2
            bits = flow.bits()
            side = 1 if ticks > before or (ticks == before and bits & 1) else -1
            at = start + second * NS + (index * 300 + 50 + (bits >> 8) % 250) * 1_000_000
            busy = 1 + regime.noise // 60
            yield Print(at, symbol, ticks, 1 + (bits >> 32) % (2 * lots_scale * busy), side)
            before = ticks


def _seconds(spec: SyntheticSpec) -> Iterator[tuple[int, Regime, int]]:
    """(second, regime, drift in 1e-6) for every second of the tape."""
    total, second = spec.minutes * 60, 0
    for number, regime in enumerate(REGIMES):
        length = total * regime.share // 1000 if number < len(REGIMES) - 1 else total - second
        for index in range(length):
            yield second, regime, regime.drift + _extra(spec, regime, index, length)
            second += 1


def _extra(spec: SyntheticSpec, regime: Regime, index: int, length: int) -> int:
    """Drift beside the trend: the slope of the oscillation, or the fall of the crash."""
    if regime.name == "crash":
        # A third of the fall comes within seconds, as crashes do, the others in two thirds of the stretch; then it stays down.
        # ln(1 / (1 - x)) is x + x^2/2 + x^3/3 to what matters here.
        falling = max(2, length * 2 // 3)
        head = max(1, falling // 60)
        depth = spec.crash * 10_000
        log = depth + depth * depth // (2 * SCALE) + depth * depth * depth // (3 * SCALE * SCALE)
        if not spec.crash or index >= falling:
            return 0
        return -(log + 15_000) // (3 * head) if index < head else -2 * (log + 15_000) // (3 * (falling - head))
    if not regime.swing:
        return 0
    quarter = regime.swing_s // 4
    return regime.swing // quarter if (index // quarter) % 4 in (0, 3) else -regime.swing // quarter
