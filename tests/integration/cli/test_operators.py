"""Operators at a real risk service on a real bus: keys, seals of two, limits, pauses, an upgrade window, and the audit of it all."""

from __future__ import annotations

import getpass
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from cli.bus import LiveBus
from cli.embedded import EmbeddedServer
from cli.main import main
from cli.rundir import write_secret
from cli.signing import read_key, write_key
from libs.common import seal
from libs.common.errors import UsageError
from libs.common.events import Halted, Heartbeat
from libs.common.restore import Saved
from libs.common.sections import Bus
from tests.waiting import eventually

ROOT = Path(__file__).resolve().parents[3]


class Room:
    """A risk service in a stage with real money, and two operators' keys."""

    def __init__(self, directory: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory, self.url, self.capsys = directory, url, capsys
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def run(self, *arguments: str, code: int = 0) -> str:
        self.capsys.readouterr()
        assert main([*arguments, "--config", str(self.directory / "tidegate.toml")]) == code
        self.said = self.capsys.readouterr()
        return self.said.out

    def by(self, who: str, *arguments: str, code: int = 0) -> str:
        return self.run(*arguments, "--operator", who, "--key", str(self.directory / f"{who}.key"), code=code)

    def sealed(self, who: str, *arguments: str) -> Path:
        path = self.directory / f"{who}.json"
        path.write_text(self.by(who, *arguments, "--sign-only"))
        return path

    @contextmanager
    def service(self, name: str, extra: dict[str, str]) -> Iterator[None]:
        env = {**os.environ, "TIDEGATE_CONFIG": str(self.directory / "tidegate.toml"), "PYTHONPATH": str(ROOT)} | extra
        with (self.directory / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", f"services.{name}"], cwd=self.directory, env=env, stderr=log
            )
        self.processes[name] = process
        try:
            yield
        finally:
            process.kill()
            process.wait()

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        self.processes["risk"].send_signal(how)
        self.processes["risk"].wait(20)

    def set(self, lines: str) -> None:
        """Add lines to [risk] of the settings file."""
        path = self.directory / "tidegate.toml"
        path.write_text(path.read_text().replace("[risk]\n", f"[risk]\n{lines}\n"))

    def beats(self, service: str) -> list[Heartbeat]:
        with LiveBus(Bus(book_url=self.url, market_url=self.url)) as bus:
            return [record.body for record in bus.read(f"health:{service}") if isinstance(record.body, Heartbeat)]

    def halts(self) -> list[str]:
        with LiveBus(Bus(book_url=self.url, market_url=self.url)) as bus:
            return [record.id for record in bus.read("halt") if isinstance(record.body, Halted)]


@pytest.fixture
def room(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    monkeypatch.chdir(tmp_path)
    lines = []
    for who in ("alice", "bob"):
        assert main(["operator", "keygen", who]) == 0
        lines.append(capsys.readouterr().out.partition("\n\n")[0].splitlines()[1])
    private, _ = seal.generate()
    write_secret(tmp_path / "seal.key", private)
    with EmbeddedServer(tmp_path) as server:
        config = tmp_path / "tidegate.toml"
        bus = f'[bus]\nbook_url = "{server.url}"\nmarket_url = "{server.url}"\n'
        risk = '[risk]\nstage = "full"\n[risk.allow.trend]\nsymbols = ["BTCUSDT"]\n[risk.operator_keys]\n' + "\n".join(
            lines
        )
        config.write_text(f'{bus}[run]\nseal_key_file = "seal.key"\n{risk}\n')
        found = Room(tmp_path, server.url, capsys)
        with found.service("risk", {}):
            eventually(found.halts, 30)
            yield found


def test_two_operators_resume_what_one_may_not_and_the_audit_tells(room: Room) -> None:
    (born,) = room.halts()
    room.by("alice", "resume", born[:8], code=1)
    assert "a second operator's is needed" in room.said.err
    room.by("alice", "resume", born[:8], code=1)
    sealed = room.sealed("alice", "resume", born[:8], "--reason", "checked the account")
    assert "Resumed" in room.by("bob", "resume", born[:8], "--signature", str(sealed), "--reason", "so did I")
    room.run("halt", "--reason", "again")
    again = room.halts()[-1]
    room.by("bob", "resume", again, "--signature", str(sealed), code=2)
    assert "seal" in room.said.err, "a seal is about one halt"
    rows = json.loads(room.run("audit", "-o", "json"))
    resumed = [row for row in rows if row["came_of_it"].startswith("resumed book")]
    assert [(row["who"], row["why"]) for row in resumed] == [("bob", "so did I")]
    assert resumed[0]["came_of_it"].endswith("requested by alice")
    assert rows[0]["who"] == "risk", "born halted by itself"
    (asked,) = [row for row in rows if row["what"].startswith("HaltRequested")]
    assert (asked["why"], asked["who"]) == ("again", f"{getpass.getuser()} (no seal)")
    assert len(json.loads(room.run("audit", "-o", "json", "--who", getpass.getuser()))) == 1


def test_a_seal_shown_again_counts_for_nothing(room: Room) -> None:
    sealed = room.sealed("alice", "limit", "set", "max_drawdown", "0.5")
    room.by("bob", "limit", "set", "max_drawdown", "0.5", "--signature", str(sealed))
    room.by("bob", "limit", "set", "max_drawdown", "0.2")
    room.by("bob", "limit", "set", "max_drawdown", "0.5", "--signature", str(sealed), code=1)
    assert "a sealed command counts once" in room.said.err
    forged = json.loads(sealed.read_text()) | {"nonce": "fresh"}
    sealed.write_text(json.dumps(forged))
    room.by("bob", "limit", "set", "max_drawdown", "0.5", "--signature", str(sealed), code=1)
    assert "SEAL" in room.said.err


def test_what_was_sealed_for_another_venue_moves_nothing_here(room: Room) -> None:
    sealed = json.loads(room.sealed("alice", "limit", "set", "max_drawdown", "0.5").read_text())
    assert sealed["place"] == "sim:main"
    file = room.directory / "tidegate.toml"
    here = file.read_text()
    file.write_text(here + '[venue]\nrest_url = "https://api-testnet.bybit.com"\n')
    elsewhere = room.sealed("alice", "limit", "set", "max_drawdown", "0.5")
    room.by("alice", "limit", "set", "max_drawdown", "0.05", code=1)
    assert "OTHER_BOOK" in room.said.err
    file.write_text(here)
    room.by("bob", "limit", "set", "max_drawdown", "0.5", "--signature", str(elsewhere), code=2)
    assert "expected" in room.said.err
    assert "was testnet:main" in room.said.err


def test_limits_go_down_by_one_and_up_by_two(room: Room) -> None:
    room.by("alice", "limit", "set", "max_order_usd", "500", "--reason", "thin book")
    room.by("alice", "limit", "set", "max_order_usd", "600", code=1)
    for none in ("much", "nan", "inf"):
        room.by("alice", "limit", "set", "max_order_usd", none, code=2)
    assert "max_order_usd 500 → 600.0, requested by alice" in room.by("bob", "limit", "set", "max_order_usd", "600.0")
    room.by("alice", "limit", "set", "max_ordr_usd", "5", code=1)
    assert "UNKNOWN_LIMIT; expected the name of a limit" in room.said.err
    shown = json.loads(room.run("limit", "show", "-o", "json"))
    row: dict[str, Any] = next(row for row in shown["limits"] if row["limit"] == "max_order_usd")
    assert shown["version"] == 3
    assert (row["value"], row["by"], row["requested_by"], row["since_version"]) == ("600.0", "bob", "alice", 3)
    assert next(row for row in shown["limits"] if row["limit"] == "velocity")["by"] == "file"


def test_pause_and_its_resume_stage_and_upgrade(room: Room) -> None:
    told = room.run("pause", "--scope", "strategy:trend", "--reason", "looks odd")
    paused = room.halts()[-1]
    assert "REDUCE_ONLY strategy:trend: OPERATOR" in told
    assert told.count(paused[:12]) == 1
    room.run("pause", "--scope", "strategy:trend", "--reason", "still")
    assert room.halts()[-1] == paused, "what stands is not raised twice, and is answered"
    sealed = room.sealed("alice", "resume", paused)
    room.by("bob", "resume", paused, "--signature", str(sealed))
    sealed = room.sealed("alice", "limit", "set", "velocity", "9")
    told = room.by("bob", "limit", "set", "velocity", "9", "--signature", str(sealed))
    assert told.count("LimitChanged") == 1, "one seal was enough: the other is not sent"
    room.by("alice", "stage", "promote", code=2)
    room.by("alice", "stage", "demote", "--reason", "first loss")
    status = json.loads(room.run("stage", "status", "-o", "json"))
    assert (status["stage"], status["changes"][-1]["why"]) == ("ramp-50", "first loss")
    room.by("alice", "stage", "promote", code=1)
    assert "NO_EVIDENCE" in room.said.err
    room.by("alice", "upgrade", "--minutes", "5", code=1)
    room.by("bob", "upgrade", "--minutes", "5")


def test_a_service_on_other_code_halts_unless_an_upgrade_was_signed_for(room: Room) -> None:
    room.by("alice", "upgrade", "--minutes", "5", code=1)
    room.by("bob", "upgrade", "--minutes", "5")
    with room.service("signal", {"TIDEGATE_REVISION": "another"}):
        eventually(lambda: room.beats("signal"), 60)
        eventually(lambda: len(room.beats("risk")) > 1, 60)
        assert {beat.code for beat in room.beats("signal")} == {"another"}
        assert len({beat.config for beat in room.beats("risk") + room.beats("signal")}) == 1
        assert len(room.halts()) == 1, "born, no more"
        room.by("alice", "upgrade", "--minutes", "0")
        eventually(lambda: len(room.halts()) > 1, 120)
    assert "HASH" in room.run("audit")


def limits_in_force(room: Room) -> dict[str, str]:
    rows = json.loads(room.run("limit", "show", "-o", "json"))["limits"]
    return {row["limit"]: row["value"] for row in rows}


def test_a_clock_that_is_ahead_moves_nobodys(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command causes bears the moment of the bus, not that of the operator's machine."""
    ahead = time.time_ns() + 3_600_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: ahead)
    room.run("halt", "--reason", "from a laptop an hour ahead", "--no-wait")
    monkeypatch.undo()
    eventually(lambda: len(room.halts()) > 1, 60)
    with LiveBus(Bus(book_url=room.url, market_url=room.url)) as bus:
        (asked,) = bus.read("command")
        halted = [record for record in bus.read("halt") if isinstance(record.body, Halted)][-1]
    assert max(asked.at, halted.at, asked.entry[0] * 1_000_000) < ahead - 1_800_000_000_000


def test_poison_in_a_stream_halts_and_does_not_kill(room: Room) -> None:
    """Whoever has signal's password writes what nobody can read: risk stops there, halted, and says so."""
    redis.Redis.from_url(room.url).xadd("{main}:signal", {"type": "Signal", "data": "{"})
    eventually(lambda: len(room.halts()) > 1, 60)
    assert "GAP" in room.run("audit")
    assert room.processes["risk"].poll() is None
    assert [beat.gap for beat in room.beats("risk")][-1] == "signal"
    with room.service("risk", {}):
        eventually(lambda: [beat.gap for beat in room.beats("risk")].count("signal") > 1, 60)
    assert len(room.halts()) == 2, "once is enough"


def test_a_file_edited_under_a_killed_service_loosens_nothing(room: Room) -> None:
    room.stop()
    room.set("max_order_usd = 99999\nmax_drawdown = 0.05")
    with room.service("risk", {}):
        eventually(lambda: limits_in_force(room)["max_drawdown"] == "0.05", 30)
    assert limits_in_force(room)["max_order_usd"] == "10000"
    assert "looser limits of the file ignored, max_order_usd 10000 → 99999" in room.run("audit", "-o", "csv")


def test_a_stopped_service_leaves_its_whole_state_behind(room: Room) -> None:
    room.run("halt", "--reason", "an upgrade")
    room.stop(signal.SIGTERM)
    client = redis.Redis.from_url(room.url)
    saved = msgspec.msgpack.decode(client.get("{main}:snapshot:risk"), type=Saved)
    with LiveBus(Bus(book_url=room.url, market_url=room.url)) as bus:
        assert saved.position.seqs["halt"] == next(bus.newest("halt")).seq
    assert saved.position.version == int(client.hget("{main}:cursor:risk", "version") or 0)
    with room.service("risk", {}):
        eventually(lambda: len(room.beats("risk")) > 1, 30)
    assert len(room.halts()) == 2, "as it was left"


def test_keys_are_their_owners_and_never_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["operator", "keygen", "alice"]) == 0
    path = tmp_path / "alice.key"
    assert path.stat().st_mode & 0o777 == 0o400
    assert main(["operator", "keygen", "alice"]) == 2
    assert main(["operator", "keygen", "a b"]) == 2
    path.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 400"):
        read_key(path, str)


def test_a_passphrase_locks_a_key(tmp_path: Path) -> None:
    private, _ = seal.generate()
    path = tmp_path / "locked.key"
    write_key(path, private, "tide")
    assert private not in path.read_text()
    assert read_key(path, lambda _: "tide") == private
    with pytest.raises(UsageError, match="passphrase"):
        read_key(path, lambda _: "ebb")


def test_sealing_away_from_the_bus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["operator", "keygen", "alice"])
    capsys.readouterr()
    here = ["--operator", "alice", "--key", "alice.key", "--bus", "redis://127.0.0.1:1"]
    assert main(["resume", "0" * 32, "--sign-only", *here]) == 0
    assert json.loads(capsys.readouterr().out)["halt_id"] == "0" * 32
