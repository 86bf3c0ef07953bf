"""What the verbs that play a tape share: their options, and what follows from them for the settings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from cli.context import Context
from libs.common.errors import UsageError
from libs.common.settings import Settings
from libs.common.values import SPOT_SUFFIX

NS_PER_MS = 1_000_000
BASE = Path(__file__).parent / "demo.toml"
RECORDED = Path(__file__).parent / "recorded.toml"

Seed = Annotated[int | None, Parameter(help="Seed of the synthetic tape and of the simulator's chance (default: 7).")]
Speed = Annotated[str | None, Parameter(help="How many times faster than wall clock, or max (default).")]
Duration = Annotated[str | None, Parameter(help="Tape time to play: 90s, 5m, 12h, 2d. Default: all of it.")]
Tapes = Annotated[
    list[str] | None,
    Parameter(consume_multiple=True, negative="", help="[SYMBOL=]FILE or synthetic:seed=N, one a symbol."),
]


def plan(
    ctx: Context, seed: int | None, speed: str | None, duration: str | None, tape: list[str] | None
) -> tuple[dict[str, Any], int, Path]:
    """Settings by dotted key for playing these tapes, how many ms of tape time that will be, and the settings file that is
    weaker than the user's: `demo.toml` for ticks, `recorded.toml` for candles.

    Strategies on symbols without a tape fall silent: their symbols are not subscribed. Raises UsageError, SettingsError or TapeError.
    """
    overrides = _wishes(seed, speed, duration, tape)
    settings = ctx.settings(overrides, BASE)
    run = settings.run
    tapes = [absolute(text) for text in run.tapes] or [f"synthetic:seed={run.seed}"]
    span_ms, traded, _, candle_ms = survey(tapes, run.seed)
    symbols = with_spot(traded, settings)
    overrides |= {"run.seed": run.seed, "run.tapes": tapes, "marketdata.symbols": symbols, "execution.symbols": symbols}
    if candle_ms:
        overrides |= _candle_places(candle_ms)
    return overrides, min(span_ms, run.duration_ms or span_ms), RECORDED if candle_ms else BASE


def with_spot(symbols: list[str], settings: Settings) -> list[str]:
    """The perpetuals of a tape and, where the simulator has them (`sim.spot`), the spot pair of each."""
    from sim.config import SimConfig

    twins = [symbol + SPOT_SUFFIX for symbol in symbols] if settings.section("sim", SimConfig).spot else []
    return [*symbols, *twins]


def _candle_places(candle_ms: int) -> dict[str, Any]:
    """What follows from the length of a tape's candles: shorter ones cannot be published, and prints are this rare."""
    from services.marketdata.config import INTERVALS, MarketdataConfig

    usual = {*MarketdataConfig().intervals, *(name for name, (ms, _) in INTERVALS.items() if ms == candle_ms)}
    kept = [name for name, (ms, _) in INTERVALS.items() if name in usual and ms >= candle_ms and ms % candle_ms == 0]
    return {"marketdata.intervals": kept, "marketdata.tape_cadence_ms": max(20_000, candle_ms)}


def survey(tapes: list[str], seed: int) -> tuple[int, list[str], int, int]:
    """Length in ms, symbols, longest usual silence in ms, and longest candle in ms (0 for ticks) of the tapes.

    Raises TapeError for one that cannot be played.
    """
    from sim.tapes.candles import default_steps
    from sim.tapes.tape import open_tape

    tape = open_tape(tapes, seed=seed)
    silence_ms = max((ms // default_steps(ms) for ms in tape.native_ms.values() if ms), default=0)
    candle_ms = max(tape.native_ms.values(), default=0)
    return (tape.end_at - tape.start_at) // NS_PER_MS, list(tape.symbols), silence_ms, candle_ms


def absolute(tape: str) -> str:
    """`[SYMBOL=]FILE` with the file's full path: the driver runs in another directory."""
    if tape == "synthetic" or tape.startswith("synthetic:"):
        return tape
    found = re.fullmatch(r"([A-Z0-9]+=)?(.+)", tape)
    if found is None:
        raise UsageError(f"--tape: expected [SYMBOL=]FILE or synthetic:seed=N, was {tape!r}")
    return f"{found[1] or ''}{Path(found[2]).expanduser().absolute()}"


def _wishes(seed: int | None, speed: str | None, duration: str | None, tape: list[str] | None) -> dict[str, Any]:
    wished: dict[str, Any] = {"run.seed": seed, "run.speed": speed, "run.tapes": tape or None}
    if duration is not None:
        wished["run.duration_ms"] = duration_ms(duration)
    return {key: value for key, value in wished.items() if value is not None}


_UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def duration_ms(text: str) -> int:
    """`90s`, `5m`, `1h30m`, `2d` to milliseconds. Raises UsageError for anything else."""
    parts = re.findall(r"(\d+)([smhd])", text)
    total = sum(int(count) * _UNITS_MS[unit] for count, unit in parts)
    if "".join(count + unit for count, unit in parts) != text or total == 0:
        raise UsageError(f"--duration: expected a span like 90s, 5m, 12h or 2d, was {text!r}")
    return total
