"""What `tidegate up` makes of its options."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.context import Context
from cli.up import LIVE_BASE, live_plan, public_places, tape_plan
from libs.common.errors import SettingsError, UsageError


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    monkeypatch.chdir(tmp_path)  # no tidegate.toml here
    return Context()


def test_a_tape_plays_by_the_wall_clock(context: Context):
    plan = tape_plan(context, None, "20", "10m", ["synthetic:seed=3"])
    assert (plan["run.mode"], plan["run.speed"], plan["span_ms"]) == ("realtime", "20", 30_000)
    assert plan["marketdata.symbols"] == ["BTCUSDT", "ETHUSDT"]
    assert "marketdata.cadence_ms" not in plan


def test_a_tape_of_candles_may_be_silent_between_its_prints(context: Context, tmp_path: Path):
    rows = [f"{1_700_000_400_000 + n * 3_600_000},1,2,1,2,10" for n in range(20)]
    (tmp_path / "BTCUSDT.csv").write_text("\n".join(["ts,open,high,low,close,volume", *rows]))
    plan = tape_plan(context, None, "1", None, ["BTCUSDT.csv"])
    assert plan["marketdata.cadence_ms"] == 2 * 3_600_000 // 24
    assert plan["risk.feed_silence"] == 3 * plan["marketdata.cadence_ms"]


@pytest.mark.parametrize("speed", ["max", "0", "1.5", "-1"])
def test_only_whole_speeds_make_sense_by_the_wall_clock(context: Context, speed: str):
    with pytest.raises(UsageError, match="demo --speed max"):
        tape_plan(context, None, speed, None, ["synthetic:seed=3"])


def test_live_data_comes_at_its_own_speed(context: Context):
    with pytest.raises(UsageError, match="expected --tape with it"):
        live_plan(context, None, "2", None)


def test_the_public_side_follows_network_and_region_unless_it_is_set(context: Context):
    def places(**venue: str) -> tuple[str, str]:
        settings = context.settings({f"venue.{name}": value for name, value in venue.items()}, LIVE_BASE)
        return tuple(public_places(settings).values())  # type: ignore[return-value]

    assert places() == ("https://api.bybit.com", "wss://stream.bybit.com")
    assert places(network="testnet")[1] == "wss://stream-testnet.bybit.com"
    assert places(region="tr") == ("https://api.bybit.tr", "wss://stream.bybit.tr")
    assert places(public_rest_url="http://here") == ("http://here", "wss://stream.bybit.com")
    with pytest.raises(SettingsError, match="region"):
        places(region="atlantis")
