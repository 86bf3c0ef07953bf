"""Composition of the risk service: settings, core, the seal on every approval, the gate set in the commit of every halt."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from libs.bybit.hosts import VenueClass, place_of
from libs.common import seal
from libs.common.bus import Log
from libs.common.errors import SettingsError
from libs.common.events import AmendIntent, Event, OrderIntent
from libs.common.service import run
from libs.common.settings import Settings, service_settings
from libs.common.stepper import Finish
from services.risk.config import LIVE_STAGES, RiskConfig
from services.risk.core import RiskCore
from services.risk.modes import gate_changes


def read_seal_key(path: Path) -> str:
    """The private key (64 hex digits) of a file that only its owner may read. Raises SettingsError.

    A file of root's may be readable by one group: that is how Kubernetes mounts a Secret for a process that is not root.
    """
    try:
        stat, text = path.stat(), path.read_text(encoding="ascii").strip()
        seal.public_of(text)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"expected run.seal_key_file to hold 64 hex digits of an Ed25519 key, was {path}: {type(error).__name__}"
        ) from None
    mode, by_group = stat.st_mode & 0o777, 0o040 if stat.st_uid == 0 and os.geteuid() != 0 else 0
    if mode & 0o077 & ~by_group:
        raise SettingsError(f"expected {path} to be readable by its owner alone, was mode {mode:o}; chmod 600 it")
    return text


def sealer(private_key: str, key_id: str) -> Callable[[Log], Finish]:
    """What the shell adds to every approval and every change of one: book and epoch of the writer, the key's id, the seal over exactly that order."""

    def for_log(log: Log) -> Finish:
        def finish(event: Event) -> Event:
            if not isinstance(event, OrderIntent | AmendIntent):
                return event
            return seal.sign(private_key, msgspec.structs.replace(event, book=log.book, epoch=log.epoch, key_id=key_id))

        return finish

    return for_log


def placed(settings: Settings, config: RiskConfig) -> RiskConfig:
    """The configuration with the place that the venue's address and the book give. Raises SettingsError where they do not fit."""
    place = place_of(settings.venue.rest_url, settings.bus.book)
    found = msgspec.structs.replace(config, place=place)
    if not found.is_for(config.stage):
        raise SettingsError(
            f"risk.stage: expected {', '.join(LIVE_STAGES)} at {settings.venue.rest_url}, was {config.stage!r}; "
            "real money begins with staged"
        )
    if config.auto_arm and not place.startswith(f"{VenueClass.SIM}:"):
        raise SettingsError(
            f"risk.auto_arm: expected false at {settings.venue.rest_url}, was true; "
            "a fresh book arms itself on the simulator only, elsewhere operators resume it"
        )
    return found


def main() -> None:
    settings, config = service_settings("risk", RiskConfig)
    config = placed(settings, config)
    if not settings.run.seal_key_file:
        raise SettingsError("expected run.seal_key_file to name risk's private seal key, was empty; set it")
    key = read_seal_key(settings.path(settings.run.seal_key_file))
    run(
        RiskCore(config),
        settings,
        finish=sealer(key, settings.run.seal_key_id),
        gate=gate_changes,
        secrets=(key,),
    )
