"""Settings: what wins, what is refused, and that everything wrong is said at once."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from libs.common.errors import SettingsError
from libs.common.sections import mask_url
from libs.common.settings import Settings, load, service_settings


class Allow(msgspec.Struct, frozen=True):
    symbols: tuple[str, ...]
    active: bool = True


class Risk(msgspec.Struct, frozen=True, kw_only=True):
    max_drawdown: Decimal = Decimal("0.10")
    repeats: int = 3
    auto_arm: bool = False
    allow: dict[str, Allow] = {}
    symbols: tuple[str, ...] = ("BTCUSDT",)
    password: str = ""
    note: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.max_drawdown < 1:
            raise ValueError(f"max_drawdown: expected above 0 and below 1, was {self.max_drawdown}")
        if self.repeats < 1:
            raise ValueError(f"repeats: expected 1 or more, was {self.repeats}")


def settings(tmp_path: Path, text: str = "", **options) -> Settings:
    file = tmp_path / "tidegate.toml"
    file.write_text(text)
    return load({"risk": Risk}, file, **({"env": {}} | options))


def risk(tmp_path: Path, text: str = "", **options) -> Risk:
    return settings(tmp_path, text, **options).section("risk", Risk)


def problems(tmp_path: Path, text: str = "", **options) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        settings(tmp_path, text, **options)
    assert caught.value.exit_code == 2
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


def test_defaults_need_no_file():
    loaded = load({}, None, env={})
    assert loaded.bus.book == "main"
    assert loaded.sources == {}


@pytest.mark.parametrize("value", ["0.05", '"0.05"', "5e-2"])
def test_a_decimal_comes_from_number_or_text(tmp_path: Path, value: str):
    assert risk(tmp_path, f"[risk]\nmax_drawdown = {value}").max_drawdown == Decimal("0.05")


def test_the_environment_wins_over_the_file_and_says_so(tmp_path: Path):
    loaded = settings(tmp_path, "[risk]\nrepeats = 4\nauto_arm = true", env={"TIDEGATE_RISK__REPEATS": "9"})
    assert loaded.section("risk", Risk).repeats == 9
    assert loaded.sources["risk.repeats"] == "environment TIDEGATE_RISK__REPEATS"
    assert loaded.sources["risk.auto_arm"] == str(tmp_path / "tidegate.toml")


def test_the_command_line_wins_over_all_and_a_base_file_is_weakest(tmp_path: Path):
    base = tmp_path / "base.toml"
    base.write_text("[risk]\nrepeats = 2\nauto_arm = true\n")
    env = {"TIDEGATE_RISK__REPEATS": "9"}
    loaded = settings(tmp_path, "[risk]\nauto_arm = false", base=base, env=env, overrides={"risk.repeats": 7})
    assert loaded.section("risk", Risk) == Risk(repeats=7, auto_arm=False)
    assert loaded.sources["risk.repeats"] == "command line"


def test_every_violation_is_told_at_once_with_place_and_key(tmp_path: Path):
    text = '[risk]\nmax_drawdown = 2\nrepeats = 0\nauto_arm = "yes"\nmax_dradown = 1\n[riks]\na = 1\n[run]\nmode = "tap"\nseed = "x"\n'
    env = {"TIDEGATE_RISK__SYMBOLS": "[1]", "TIDEGATE_NOWHERE__X": "1"}
    file = str(tmp_path / "tidegate.toml")
    found = problems(tmp_path, text, env=env)
    assert f"{file}: risk.max_drawdown: expected above 0 and below 1, was 2" in found
    assert f"{file}: risk.repeats: expected 1 or more, was 0" in found
    assert f"{file}: risk.auto_arm: expected bool, was 'yes'" in found
    assert f"{file}: risk.max_dradown: unknown key (did you mean max_drawdown?)" in found
    assert any(line.startswith(f"{file}: riks: unknown section (did you mean risk?)") for line in found)
    assert f"{file}: run.mode: expected one of tape, realtime, was 'tap'" in found
    assert f"{file}: run.seed: expected int, was 'x'" in found
    assert any(line.startswith("environment TIDEGATE_RISK__SYMBOLS: risk.symbols: expected str") for line in found)
    assert any(line.startswith("environment TIDEGATE_NOWHERE__X: nowhere: unknown section") for line in found)
    assert len(found) == 9


@pytest.mark.parametrize("value", ["abc", "nan!", "true", ""])
def test_an_ill_typed_number_in_the_environment_is_refused(tmp_path: Path, value: str):
    (line,) = problems(tmp_path, env={"TIDEGATE_RISK__REPEATS": value})
    assert line.startswith("environment TIDEGATE_RISK__REPEATS: risk.repeats: expected int")


@pytest.mark.parametrize(
    "text", ["[risk]\nrepeats = 1.5", "[risk]\nrepeats = true", "[risk]\nauto_arm = 1", "[risk]\nsymbols = 'BTCUSDT'"]
)
def test_types_are_strict_in_the_file(tmp_path: Path, text: str):
    assert len(problems(tmp_path, text)) == 1


def test_tables_of_structs_are_checked_key_by_key(tmp_path: Path):
    (line,) = problems(tmp_path, "[risk.allow.trend]\nsymbols = ['A']\nactiv = true")
    assert line.endswith("risk.allow.trend.activ: unknown key (did you mean active?)")
    (line,) = problems(tmp_path, "[risk.allow.trend]\nactive = true")
    assert line.endswith("risk.allow.trend.symbols: expected a value, was missing")


def test_tables_and_lists_come_from_the_environment(tmp_path: Path):
    env = {"TIDEGATE_RISK__SYMBOLS": '["A", "B"]', "TIDEGATE_RISK__ALLOW__TREND__SYMBOLS": '["A"]'}
    found = risk(tmp_path, env=env)
    assert found.symbols == ("A", "B")
    assert found.allow == {"trend": Allow(("A",))}


def test_secrets_come_from_files_only_and_are_never_told(tmp_path: Path):
    (line,) = problems(tmp_path, '[risk]\npassword = "sesame"')
    assert "files of TIDEGATE_SECRETS_DIR" in line
    assert "sesame" not in line
    (tmp_path / "secrets/risk").mkdir(parents=True)
    (tmp_path / "secrets/risk/password").write_text("sesame\n")
    assert risk(tmp_path, env={"TIDEGATE_SECRETS_DIR": str(tmp_path / "secrets")}).password == "sesame"


def test_a_missing_or_broken_file_is_one_sentence(tmp_path: Path):
    with pytest.raises(SettingsError, match=r"expected a settings file at .*gone\.toml, was nothing there"):
        load({}, tmp_path / "gone.toml", env={})
    (tmp_path / "broken.toml").write_text("[risk\n")
    with pytest.raises(SettingsError, match=r"broken\.toml: expected TOML, was not: .*line 1"):
        load({}, tmp_path / "broken.toml", env={})


def test_sections_of_others_are_left_alone_and_a_plain_key_is_refused(tmp_path: Path):
    assert "execution" not in settings(tmp_path, "[execution]\nanything = 1").sections
    (line,) = problems(tmp_path, "seed = 7")
    assert "seed: unknown key outside any section" in line


def test_the_run_directory_comes_from_its_variable(tmp_path: Path):
    assert settings(tmp_path, env={"TIDEGATE_RUN_DIR": "/a/b"}).run.run_dir == "/a/b"


def test_a_service_reads_the_file_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "config.toml").write_text("[risk]\nrepeats = 5\n[signal]\nx = 1\n")
    monkeypatch.setenv("TIDEGATE_CONFIG", str(tmp_path / "config.toml"))
    loaded, own = service_settings("risk", Risk)
    assert own.repeats == 5
    assert loaded.path("keys/seal.key") == tmp_path / "keys/seal.key"


def test_the_digest_follows_the_values_and_not_their_source(tmp_path: Path):
    same = (
        settings(tmp_path, "[risk]\nrepeats = 4").digest(),
        settings(tmp_path, env={"TIDEGATE_RISK__REPEATS": "4"}).digest(),
    )
    assert same[0] == same[1]
    assert same[0] != settings(tmp_path).digest()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h:1/0", "redis://h:1/0"),
        ("redis://u:p@h:1/0", "redis://u:********@h:1/0"),
        ("redis://:p@@h/0", "redis://:********@h/0"),
        ("unix:///a/b.sock", "unix:///a/b.sock"),
    ],
)
def test_urls_are_shown_without_password(url: str, shown: str):
    assert mask_url(url) == shown
