"""Reads the Dockerfile as far as its own lines go: which files each image holds."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Stage:
    base: str
    copies: list[tuple[list[str], str]] = field(default_factory=list)
    """Sources (of the build context) and target, in order."""
    user: str = ""


def lines() -> list[str]:
    text = (ROOT / "Dockerfile").read_text()
    joined = re.sub(r"\\\n\s*", " ", text)
    return [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]


def stages() -> tuple[dict[str, Stage], str]:
    """Every named stage, and what the last, nameless one is FROM."""
    found: dict[str, Stage] = {}
    here, last = Stage(""), ""
    for line in lines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            here, last = Stage(base), base
            if name:
                found[name] = here
        elif word == "COPY" and not rest.startswith("--from"):
            *sources, target = rest.split()
            here.copies.append((sources, target))
        elif word == "USER":
            here.user = rest.strip()
    return found, last


def chain(service: str) -> list[Stage]:
    """The stages that an image is made of, first to last."""
    found, last = stages()
    assert last == "${SERVICE}"
    name, made = service, []
    while name in found:
        made.append(found[name])
        name = found[name].base
    return made[::-1]


def replay(service: str, root: Path) -> Path:
    """Do what the image's COPY lines do below `root`; returns its /app."""
    for stage in chain(service):
        for sources, target in stage.copies:
            place = root / target.replace("${SERVICE}", service).lstrip("/")
            for source in sources:
                _copy(ROOT / source.replace("${SERVICE}", service), place, into=target.endswith("/"))
    return root / "app"


def _copy(source: Path, place: Path, *, into: bool) -> None:
    if source.is_dir():
        shutil.copytree(source, place, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        return
    target = place / source.name if into else place
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)
