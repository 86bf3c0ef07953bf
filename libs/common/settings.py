"""Settings: one TOML file, the environment and secret files, checked as a whole before anything starts.

Weakest first: the defaults in the code, the file, secret files, the environment, what the command line says. Every
section is a plain frozen struct; the caller names the sections it knows (a service: its own; the CLI: all), so this
module knows no service. Sections of others are accepted by name and left alone. All violations are reported at once,
each with the place it came from and its key.
"""

from __future__ import annotations

import hashlib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import msgspec
from pydantic import create_model
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NestedSecretsSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings.sources import TomlConfigSettingsSource

from libs.common.access import user_of
from libs.common.errors import SettingsError
from libs.common.sections import MASK, OWN_SECTIONS, Bus, Run, Telemetry, Venue, with_login

PREFIX = "TIDEGATE_"
CONFIG_VARIABLE = "TIDEGATE_CONFIG"
RUN_DIR_VARIABLE = "TIDEGATE_RUN_DIR"
SECRETS_VARIABLE = "TIDEGATE_SECRETS_DIR"
NAMED_SECTIONS = (
    "run",
    "bus",
    "venue",
    "marketdata",
    "signal",
    "risk",
    "execution",
    "watchdog",
    "monitor",
    "sim",
    "telemetry",
)
"""Every section a file may hold, whoever reads it."""

S = TypeVar("S", bound=msgspec.Struct)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Checked settings. `sources` says for each dotted key where its value came from."""

    file: Path | None
    run: Run
    bus: Bus
    venue: Venue
    telemetry: Telemetry
    sections: dict[str, msgspec.Struct]
    sources: dict[str, str]

    def section(self, name: str, kind: type[S]) -> S:
        """One section as the struct it was loaded as."""
        value = self.sections[name]
        if not isinstance(value, kind):
            raise TypeError(f"expected [{name}] to be loaded as {kind.__name__}, was {type(value).__name__}")
        return value

    def path(self, text: str) -> Path:
        """A path of the settings: absolute, or relative to the settings file."""
        base = self.file.parent if self.file else Path()
        return base / Path(text).expanduser()

    def bus_as(self, role: str) -> Bus:
        """[bus] with URLs that log in as a role; the password comes from its file. Raises SettingsError without one."""
        bus = self.bus
        if not bus.passwords:
            return bus
        file = self.path(bus.passwords) / role
        try:
            password = file.read_text(encoding="ascii").strip()
        except (OSError, ValueError) as e:
            raise SettingsError(
                f"expected bus.passwords to hold the password of {role} in {file}, was {type(e).__name__}; "
                "take a folder that `python -m cli.keys` or a run has written"
            ) from None
        urls = {
            name: with_login(getattr(bus, name), user_of(role, bus.book), password)
            for name in ("market_url", "book_url")
        }
        return msgspec.structs.replace(bus, **urls)

    def values(self) -> dict[str, dict[str, Any]]:
        """Every value as plain TOML-like data, by section; Decimals as strings, None left out."""
        return {name: _plain(section) for name, section in self.sections.items()}

    def digest(self) -> str:
        """16 hex digits over all values: two processes with the same digest run under the same settings."""
        text = msgspec.json.encode(self.values(), order="deterministic")
        return hashlib.blake2b(text, digest_size=8).hexdigest()


class _Violations:
    """Collects what is wrong; raised once, all together."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, source: str, key: str, problem: str) -> None:
        self.lines.append(f"{source}: {key}: {problem}")

    def check(self) -> None:
        if self.lines:
            count = f"{len(self.lines)} setting is" if len(self.lines) == 1 else f"{len(self.lines)} settings are"
            raise SettingsError(f"{count} wrong; mend and try again\n  " + "\n  ".join(self.lines))


def load(
    sections: Mapping[str, type[msgspec.Struct]],
    file: Path | None = None,
    *,
    base: Path | None = None,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Read and check everything. `sections` adds to [run], [bus], [venue], [telemetry]; `base` is a file weaker than
    `file`; `overrides` maps dotted keys to values that win over all else (the command line).

    Raises SettingsError listing every unknown key and every wrong value.
    """
    env = os.environ if env is None else env
    known = {**OWN_SECTIONS, **sections}
    bad = _Violations()
    tree: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, values in _layers((base, file), env, overrides or {}, bad):
        _merge(tree, values, sources, source, "")
    _refuse_unknown_sections(tree, sources, bad)
    built = {name: _build(kind, tree.get(name, {}), name, sources, bad) for name, kind in known.items()}
    bad.check()
    return Settings(
        file=file,
        run=_as(built["run"], Run),
        bus=_as(built["bus"], Bus),
        venue=_as(built["venue"], Venue),
        telemetry=_as(built["telemetry"], Telemetry),
        sections={name: section for name, section in built.items() if section is not None},
        sources=sources,
    )


def service_settings(
    name: str, kind: type[S], others: Mapping[str, type[msgspec.Struct]] | None = None
) -> tuple[Settings, S]:
    """What a service's composition root calls: the file of TIDEGATE_CONFIG, its own section, `others` and the common ones."""
    text = os.environ.get(CONFIG_VARIABLE, "")
    settings = load({**(others or {}), name: kind}, Path(text) if text else None)
    return settings, settings.section(name, kind)


# --- layers ------------------------------------------------------------------------------------------------------


def _layers(
    files: tuple[Path | None, ...], env: Mapping[str, str], overrides: Mapping[str, Any], bad: _Violations
) -> list[tuple[str, dict[str, Any]]]:
    layers: list[tuple[str, dict[str, Any]]] = [(str(file), _read_file(file)) for file in files if file is not None]
    secrets = env.get(SECRETS_VARIABLE, "")
    if secrets:
        layers.append((f"secret file in {secrets}", _read_secrets(Path(secrets))))
    layers.append(("environment", _read_environment(env, bad)))
    if env.get(RUN_DIR_VARIABLE):
        layers.append((f"environment {RUN_DIR_VARIABLE}", {"run": {"run_dir": env[RUN_DIR_VARIABLE]}}))
    tree: dict[str, Any] = {}
    for dotted, value in overrides.items():
        *path, key = dotted.split(".")
        at = tree
        for part in path:
            at = at.setdefault(part, {})
        at[key] = value
    layers.append(("command line", tree))
    return layers


_Sources = create_model(  # type: ignore[call-overload]  # the fields are made from a list, which no overload describes
    "_Sources",
    __base__=BaseSettings,
    **{name: (dict[str, Any], {}) for name in NAMED_SECTIONS},
)
_Sources.model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", extra="allow")


def _read_file(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise SettingsError(f"expected a settings file at {file}, was nothing there; name one with --config FILE")
    try:
        return dict(TomlConfigSettingsSource(_Sources, toml_file=file)())
    except tomllib.TOMLDecodeError as e:
        raise SettingsError(f"{file}: expected TOML, was not: {e}") from e
    except (OSError, UnicodeDecodeError) as e:
        raise SettingsError(f"{file}: expected a readable text file: {e}") from e


def _read_secrets(directory: Path) -> dict[str, Any]:
    if not directory.is_dir():
        raise SettingsError(f"expected {SECRETS_VARIABLE} to name a directory, was {directory}")
    own = EnvSettingsSource(_Sources)
    source = NestedSecretsSettingsSource(own, secrets_dir=directory, secrets_prefix="", secrets_nested_subdir=True)
    return {name: value for name, value in source().items() if value}


def _read_environment(env: Mapping[str, str], bad: _Violations) -> dict[str, Any]:
    """`TIDEGATE_RISK__MAX_DRAWDOWN=0.05` -> {"risk": {"max_drawdown": "0.05"}}; values stay text."""
    for name in sorted(env):
        section = name.removeprefix(PREFIX).partition("__")[0].lower()
        if name.startswith(PREFIX) and "__" in name and section not in NAMED_SECTIONS:
            bad.add(f"environment {name}", section, f"unknown section; expected one of {', '.join(NAMED_SECTIONS)}")
    source = EnvSettingsSource(_Sources)
    source.env_vars = {name.lower(): value for name, value in env.items()}
    found: dict[str, Any] = {}
    for name in NAMED_SECTIONS:
        values = source.explode_env_vars(name, _Sources.model_fields[name], source.env_vars)
        if values:
            found[name] = values
    return found


def _merge(tree: dict[str, Any], values: Mapping[str, Any], sources: dict[str, str], source: str, prefix: str) -> None:
    for key, value in values.items():
        dotted = f"{prefix}{key}"
        if isinstance(value, Mapping):
            below = tree.get(key)
            if not isinstance(below, dict):
                below = tree[key] = {}
            if not value:
                sources.setdefault(dotted, source)
            _merge(below, value, sources, source, f"{dotted}.")
        else:
            tree[key] = value
            sources[dotted] = f"environment {_variable(dotted)}" if source == "environment" else source


def _variable(dotted: str) -> str:
    return PREFIX + dotted.upper().replace(".", "__")


_BAD: Any = object()
"""Stands for a value that was reported as wrong."""

# --- checking ----------------------------------------------------------------------------------------------------


def _refuse_unknown_sections(tree: dict[str, Any], sources: dict[str, str], bad: _Violations) -> None:
    for name, value in tree.items():
        if name not in NAMED_SECTIONS:
            what = "section" if isinstance(value, dict) else "key outside any section"
            hint = _closest(name, NAMED_SECTIONS)
            bad.add(
                _source_of(name, sources), name, f"unknown {what}{hint}; expected one of {', '.join(NAMED_SECTIONS)}"
            )
        elif not isinstance(value, dict):
            bad.add(_source_of(name, sources), name, f"expected a section [{name}], was {_show(value)}")


def _build(
    kind: type[msgspec.Struct], values: Any, prefix: str, sources: dict[str, str], bad: _Violations
) -> msgspec.Struct | None:
    """One struct from plain values; every problem is added to `bad`, and then None returned."""
    if not isinstance(values, dict):
        return None
    before = len(bad.lines)
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    ready: dict[str, Any] = {}
    for key, value in values.items():
        dotted = f"{prefix}.{key}"
        if key not in fields:
            bad.add(_source_of(dotted, sources), dotted, f"unknown key{_closest(key, fields)}")
        else:
            ready[key] = _value(fields[key].type, value, dotted, sources, bad)
    for field in fields.values():
        if field.required and field.name not in values:
            bad.add("nowhere", f"{prefix}.{field.name}", "expected a value, was missing")
    made = _construct(kind, {key: value for key, value in ready.items() if value is not _BAD}, prefix, sources, bad)
    return made if len(bad.lines) == before else None


def _construct(
    kind: type[msgspec.Struct], ready: dict[str, Any], prefix: str, sources: dict[str, str], bad: _Violations
) -> msgspec.Struct | None:
    """The struct; a field that its own check refuses is reported and left out, so that the next one is checked too."""
    while True:
        try:
            return kind(**ready)
        except ValueError as e:
            name, _, problem = str(e).partition(": ")
            dotted = f"{prefix}.{name}" if name in ready else prefix
            bad.add(_source_of(dotted, sources), dotted, problem if name in ready else str(e))
            if ready.pop(name, None) is None:
                return None
        except TypeError:  # a required field is missing or was bad: reported already
            return None


def _value(kind: Any, value: Any, dotted: str, sources: dict[str, str], bad: _Violations) -> Any:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and isinstance(value, dict):
        below = _build(kind, value, dotted, sources, bad)
        return _BAD if below is None else below
    if (of := _table_of(kind)) is not None and isinstance(value, dict):
        built = {key: _value(of, item, f"{dotted}.{key}", sources, bad) for key, item in value.items()}
        return _BAD if any(item is _BAD for item in built.values()) else built
    source = _source_of(dotted, sources)
    is_text = source.startswith(("environment", "secret file"))
    if is_text and isinstance(value, str) and _is_container(kind):
        value = _from_json(value)
    if secret_key(dotted) and value and not source.startswith("secret file"):
        bad.add(source, dotted, f"expected secrets in files of {SECRETS_VARIABLE} only, was here; move it there")
        return _BAD
    try:
        return msgspec.convert(value, kind, strict=not is_text)
    except msgspec.ValidationError as e:
        shown = MASK if secret_key(dotted) else _show(value)
        bad.add(source, dotted, f"{_expected(str(e))}, was {shown}")
        return _BAD


def _source_of(dotted: str, sources: Mapping[str, str]) -> str:
    """Where a key, or the first key below it, came from."""
    if dotted in sources:
        return sources[dotted]
    return next((source for key, source in sources.items() if key.startswith(f"{dotted}.")), "default")


def _table_of(kind: Any) -> Any:
    """The struct that each value of a dict[str, struct] is; None for any other type."""
    of = get_args(kind)[1] if get_origin(kind) is dict else None
    return of if isinstance(of, type) and issubclass(of, msgspec.Struct) else None


def _is_container(kind: Any) -> bool:
    if get_origin(kind) in (list, tuple, dict, set, frozenset):
        return True
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return True
    return any(_is_container(part) for part in get_args(kind) if part is not type(None))


def _from_json(text: str) -> Any:
    """Containers come as JSON in the environment; what is not JSON stays text and fails its check with its name."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _closest(name: str, known: Any) -> str:
    from difflib import get_close_matches  # only needed when something is wrong

    near = get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def secret_key(dotted: str) -> bool:
    """Whether a key holds a secret itself (not the name of a file that holds one)."""
    return dotted.rpartition(".")[2].endswith(("password", "secret", "token", "api_key", "private_key", "seal_key"))


def _plain(section: Any) -> Any:
    """Struct to plain data without None; Decimals become strings."""
    data = msgspec.to_builtins(section)
    return _without_none(data)


def _without_none(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _without_none(value) for key, value in data.items() if value is not None}
    return data


def _as(value: msgspec.Struct | None, kind: type[S]) -> S:
    assert isinstance(value, kind)  # _build gave the type it was asked for, or a violation was raised
    return value


def _show(value: Any) -> str:
    text = repr(value)
    return f"{text[:60]}..." if len(text) > 63 else text


def _expected(text: str) -> str:
    """msgspec's "Expected `int`, got `str` - at `$`" as "expected int"; other sentences keep their words."""
    bare = text.replace("`", "")
    return (bare[:1].lower() + bare[1:]).partition(", got ")[0]
