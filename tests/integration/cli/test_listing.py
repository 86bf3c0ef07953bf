"""Listings of a small log, from a real bus and from an archive: the same answers from both."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from cli.bus import LiveBus
from cli.embedded import EmbeddedServer
from cli.main import main
from libs.common.events import Halted, HaltRequested
from libs.common.sections import Bus
from tests.integration.cli import sample


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path_factory.mktemp("bus")) as running:
        yield running


@pytest.fixture(params=["bus", "archive"])
def where(request: pytest.FixtureRequest, server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes the log where the parameter says; gives the arguments that name it."""
    monkeypatch.chdir(tmp_path)

    def make(*, halted: bool = False) -> list[str]:
        book = sample.log(halted=halted)
        if request.param == "archive":
            sample.to_archive(book, tmp_path / "run")
            return ["--run-dir", str(tmp_path / "run")]
        with redis.Redis.from_url(server.url) as client:
            client.flushall()
            sample.to_bus(book, client)
        return ["--bus", server.url]

    return make


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main(arguments) == code
    return capsys.readouterr().out


def test_status_says_mode_money_and_services(where, capsys):
    place = where()
    document = json.loads(run(capsys, "status", "-o", "json", *place))
    assert document["mode"] == "NORMAL"
    assert document["halted"] is False
    assert document["money"]["equity"] == "10000.67"
    assert document["at"] == str(sample.AT + 60 * sample.MS)
    assert {row["service"]: row["commits"] for row in document["services"]}["risk"] == 12
    assert document["events"]["order"] == 2
    assert "NORMAL" in run(capsys, "status", *place)


def test_a_halted_book_is_exit_code_3_where_it_matters_and_0_elsewhere(where, capsys):
    place = where(halted=True)
    for verb in ("status", "risk", "positions"):
        run(capsys, verb, *place, code=3)
    for verb in ("orders", "fills"):
        run(capsys, verb, *place)
    document = json.loads(run(capsys, "status", "-o", "json", *place, code=3))
    assert document["halts"][0]["reason"] == "max_drawdown"
    assert f"tidegate resume {document['halts'][0]['id']}" in run(capsys, "status", *place, code=3)


def test_an_empty_log_counts_as_halted(server: EmbeddedServer, capsys, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
    run(capsys, "status", "--bus", server.url, code=3)


def test_positions_orders_and_fills(where, capsys):
    place = where()
    (position,) = json.loads(run(capsys, "positions", "-o", "json", *place))
    assert (position["symbol"], position["qty"], position["notional"]) == ("BTCUSDT", "0.01", "601.01")
    (order,) = json.loads(run(capsys, "orders", "-o", "json", *place))
    assert (order["order_link_id"], order["status"], order["filled"]) == (sample.LINK, "filled", "0.01")
    assert order["at"] == str(sample.AT)
    (row,) = csv.DictReader(io.StringIO(run(capsys, "fills", "-o", "csv", *place)))
    assert (row["exec_id"], row["price"], row["liquidity"]) == ("x1", "60001", "taker")
    assert json.loads(run(capsys, "orders", "-o", "json", "--symbol", "ETHUSDT", *place)) == []
    assert sample.LINK in run(capsys, "orders", *place)


def test_risk_shows_each_limit_and_how_much_is_used(where, capsys):
    document = json.loads(run(capsys, "risk", "-o", "json", *where()))
    assert document["limits"] == [
        {"limit": "max_leverage", "measured": "0.06", "allowed": "5", "headroom": "4.94", "used": "0.0120"}
    ]


@pytest.mark.parametrize("identity", [sample.LINK, sample.LINK[:9]])
def test_why_goes_from_the_tick_to_the_fill(where, capsys, identity: str):
    chain = json.loads(run(capsys, "why", identity, "-o", "json", *where()))["chain"]
    assert [hop["type"] for hop in chain] == [
        "Tick",
        "Signal",
        "OrderIntent",
        "OrderSubmitted",
        "OrderAccepted",
        "Fill",
    ]
    assert [hop["hop_ms"] for hop in chain] == [0, 0, 0, 0, 40, 10]


def test_why_a_halt_names_the_fill_that_caused_it(where, capsys):
    place = where(halted=True)
    halt = json.loads(run(capsys, "status", "-o", "json", *place, code=3))["halts"][0]["id"]
    chain = json.loads(run(capsys, "why", halt[:10], "-o", "json", *place))["chain"]
    assert [hop["type"] for hop in chain] == ["Fill", "Halted"]
    run(capsys, "why", "ffffffffffff", *place, code=2)


def test_export_is_one_object_a_line_in_the_order_written(where, capsys, tmp_path: Path):
    place = where(halted=True)
    lines = [json.loads(line) for line in run(capsys, "events", "export", "-o", "json", *place).splitlines()]
    assert len(lines) == len(sample.log(halted=True).records)
    assert [list(line)[:2] for line in lines] == [["stream", "entry_id"]] * len(lines)
    assert sorted(lines, key=lambda line: line["entry_id"]) == lines
    submitted = next(line for line in lines if line["type"] == "OrderSubmitted")
    assert (submitted["stream"], submitted["at"], submitted["qty"]) == ("order", str(sample.AT), "0.01")
    assert submitted["expires_at"] == str(sample.AT + sample.MS)
    assert submitted["cause"] == [["order-intent", 1]]
    run(capsys, "events", "export", "--stream", "fill", "--out", str(tmp_path / "fills.jsonl"), *place)
    assert len((tmp_path / "fills.jsonl").read_text().splitlines()) == 1


def test_tail_and_show(where, capsys):
    place = where(halted=True)
    last = run(capsys, "events", "tail", "-n", "2", *place).splitlines()
    assert "Resumed" in last[0]
    assert "HALTED book: max_drawdown 0.101 of 0.1" in last[1]
    identity = last[1].split()[-1]
    assert json.loads(run(capsys, "events", "show", identity, *place))["type"] == "Halted"
    assert "Tick" in run(capsys, "events", "tail", "--stream", "tick", *place)


def test_doctor_reports_a_halted_book(where, capsys):
    rows = {
        row["check"]: row["state"]
        for row in json.loads(run(capsys, "doctor", "-o", "json", *where(halted=True), code=3))
    }
    assert rows["python"] == rows["server"] == rows["settings"] == rows["risk"] == "ok"


def test_a_halt_is_appended_once_and_a_resume_needs_a_key(server: EmbeddedServer, capsys, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
        sample.to_bus(sample.log(halted=True), client)
    run(capsys, "halt", "--reason", "maintenance", "--no-wait", "--operator", "ana", "--bus", server.url)
    with LiveBus(Bus(market_url=server.url, book_url=server.url)) as bus:
        (record,) = bus.read("command")
        assert isinstance(record.body, HaltRequested)
        assert (record.body.operator, record.body.reason, record.seq) == ("ana", "maintenance", 1)
        assert bus.append(record.body, sample.AT) is None  # the same nonce again
        assert bus.lengths()["command"] == 1
        halt = next(r.id for r in bus.read("halt") if isinstance(r.body, Halted))
    run(capsys, "resume", halt[:8], "--bus", server.url, code=2)
    run(capsys, "resume", "0000000", "--bus", server.url, code=2)


def test_output_into_a_closed_pipe_is_no_error(tmp_path: Path):
    sample.to_archive(sample.log(halted=False), tmp_path / "run")
    script = f"'{_python()}' -m cli.main events export --run-dir '{tmp_path / 'run'}' | head -c 1 >/dev/null; exit ${{PIPESTATUS[0]}}"
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(["bash", "-c", script], cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def _python() -> str:
    import sys

    return sys.executable
