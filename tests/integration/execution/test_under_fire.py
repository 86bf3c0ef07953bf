"""The execution service, a real process on a real bus, while the exchange bans, lies, loses its clock and takes its key away."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.integration.execution.rig import Fire, fire
from tests.waiting import eventually

S = 1_000_000_000


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Fire]:
    with fire(tmp_path) as rig:
        yield rig


def beats(rig: Fire) -> list[dict[str, Any]]:
    return [event for event in rig.bus_events("health:execution") if event["type"] == "Heartbeat"]


def enter(rig: Fire) -> str:
    """A position, and one resting entry whose id this gives."""
    rig.up()
    rig.write([("n-in", rig.intent("tg-in", rig.price("1.01"), time_in_force="IOC", qty=Decimal("0.010")))])
    rig.write([("n-rest", rig.intent("tg-rest", rig.price("0.95")))])
    eventually(lambda: rig.held() == Decimal("0.010") and rig.entries() == ["tg-rest"], 30)
    return "tg-rest"


def test_after_403_cancels_and_exits_take_the_trade_socket_and_http_is_silent(rig: Fire) -> None:
    resting = enter(rig)
    rig.faults({"kind": "ban", "match": {"account": "book-key"}})
    eventually(lambda: beats(rig)[-1]["http_silent_ms"] > 0, 30)
    asked = json.dumps(rig._get("/sim/faults")["faults"])
    assert beats(rig)[-1]["trade_socket"] is True
    rig.cancel(resting)
    rig.write([("n-no", rig.intent("tg-no", rig.price("0.95")))])
    exits: list[str] = []

    def flat() -> bool:
        if not exits or rig.ended().get(exits[-1]) == "OrderRejected":  # on a busy machine an approval may run out
            exits.append(f"tg-out{len(exits)}")
            rig.write([(exits[-1], rig.exit(exits[-1], "0.010"))])
        return rig.held() == 0 and rig.entries() == []

    eventually(flat, 60)
    eventually(lambda: {"tg-no", exits[-1], "tg-rest"} <= rig.ended().keys(), 30)
    ended = {name: how for name, how in rig.ended().items() if name not in exits[:-1]}
    assert ended == {"tg-in": "filled", "tg-rest": "OrderCancelled", exits[-1]: "filled", "tg-no": "OrderRejected"}
    assert json.dumps(rig._get("/sim/faults")["faults"]) == asked, "not one more call met the ban"


@pytest.mark.parametrize("arrives", ["now", "never", "late"])
@pytest.mark.parametrize("answer", [10000, pytest.param("timeout", marks=pytest.mark.slow)])
def test_an_ambiguous_create_is_accepted_once_at_most_and_resolved(rig: Fire, arrives: str, answer: int | str) -> None:
    """Live, filled, never arrived, arrived four seconds later; answered 10000, or not at all."""
    rig.up()
    rig.faults({"kind": "ambiguous", "arrives": arrives, "late_ms": 4_000, "answer": answer, "timeout_ms": 8_000})
    rig.write([
        ("n-1", rig.intent("tg-rests", rig.price("0.95"))),
        ("n-2", rig.intent("tg-fills", rig.price("1.01"), time_in_force="IOC")),
    ])  # fmt: skip
    unresolved = {"tg-rests", "tg-fills"}
    eventually(lambda: unresolved <= {e["order_link_id"] for e in rig.bus_events("order") if e["type"] in ("OrderAccepted", "OrderResolved")}, 30)  # fmt: skip
    outcomes = {e["order_link_id"]: e["outcome"] for e in rig.bus_events("order") if e["type"] == "OrderResolved"}
    eventually(lambda: "tg-fills" in rig.ended(), 30)
    if arrives == "never":
        assert outcomes == {"tg-rests": "dead", "tg-fills": "dead"}
        assert rig.accepted() == []
    else:
        assert sorted(rig.accepted()) == ["tg-fills", "tg-rests"]
        assert rig.held() == Decimal("0.001")
        assert rig.ended() == {"tg-fills": "filled"}


@pytest.mark.parametrize("jump_ms", [1_200, -6_000])
def test_a_jump_of_the_clock_is_survived(rig: Fire, jump_ms: int) -> None:
    """Stamps follow the exchange; an order whose stamp was refused goes once more with a fresh one."""
    rig.up()
    rig.faults({"kind": "skew", "ms": jump_ms})
    orders = {f"tg-{number}" for number in range(6)}
    rig.write([(name, rig.intent(name, rig.price("0.95"))) for name in sorted(orders)])
    eventually(lambda: set(rig.entries()) == orders, 30)
    rig.cancel("tg-3")
    eventually(lambda: set(rig.entries()) == orders - {"tg-3"}, 30)
    rejected = [event for event in rig.bus_events("order") if event["type"] == "OrderRejected"]
    assert rejected == []


def _decided(rig: Fire, names: set[str]) -> set[str]:
    return names & {event["order_link_id"] for event in rig.bus_events("order")}


@pytest.mark.slow
def test_a_flood_of_approvals_never_starves_a_cancel(rig: Fire) -> None:
    """10,000 approvals as fast as the bus takes them, a cancel in their midst."""
    resting = enter(rig)
    price, count = rig.price("0.90"), 10_000
    flood = [(f"tg-f{n}", rig.intent(f"tg-f{n}", price)) for n in range(count)]
    rig.write(flood[: count // 2])
    rig.cancel(resting)
    rig.write(flood[count // 2 :])
    eventually(lambda: resting not in rig.entries(), 60)
    eventually(lambda: "tg-rest" in rig.ended(), 60)
    names = {name for name, _ in flood}
    decided = eventually(lambda: _decided(rig, names) if len(_decided(rig, names)) == count else None, 120)
    assert decided == names
    taken = [name for name in rig.accepted() if name.startswith("tg-f")]
    assert len(taken) == len(set(taken)) < count // 10, "what does not fit the venue's rate is turned down, not queued"


def test_a_deposit_and_a_withdrawal_are_cash_and_no_mismatch(rig: Fire) -> None:
    rig.up()
    rig.do(do="deposit", account="book-key", amount="123.45678901")
    eventually(
        lambda: [e for e in rig.bus_events("account") if e["type"] == "CashMoved" and e["reference"] != "opening"], 30
    )
    rig.do(do="withdraw", account="book-key", amount="23.4")
    moved = eventually(lambda: _moves(rig) if len(_moves(rig)) == 2 else None, 30)
    assert [Decimal(event["amount"]) for event in moved] == [Decimal("123.45678901"), Decimal("-23.4")]
    before = len([e for e in rig.bus_events("account") if e["type"] == "Reconciled"])
    eventually(lambda: len([e for e in rig.bus_events("account") if e["type"] == "Reconciled"]) > before, 30)
    assert not rig.bus_has("account", b"Mismatch")


def _moves(rig: Fire) -> list[dict[str, Any]]:
    return [e for e in rig.bus_events("account") if e["type"] == "CashMoved" and e["reference"] != "opening"]


def test_a_silent_private_stream_is_found_and_the_fill_is_booked(rig: Fire) -> None:
    rig.up()
    rig.faults({"kind": "silence"})
    rig.write([("n-in", rig.intent("tg-in", rig.price("1.01"), time_in_force="IOC", qty=Decimal("0.010")))])
    eventually(lambda: rig.bus_has("fill", b"Fill"), 30)
    eventually(lambda: rig.bus_has("account", b"Mismatch") or "tg-in" in rig.ended(), 30)
    assert rig.ended() == {"tg-in": "filled"}
    assert rig.accepted() == ["tg-in"]


def test_a_foreign_order_is_reported(rig: Fire) -> None:
    rig.up()
    rig.place(resting=True)
    eventually(lambda: rig.bus_has("account", b"ForeignOrder"), 30)


def test_the_secret_is_nowhere_not_even_after_a_crash(rig: Fire) -> None:
    enter(rig)
    rig.faults({"kind": "cut"})
    rig.write([("n-9", rig.intent("tg-9", rig.price("0.95")))])
    eventually(lambda: "tg-9" in {e["order_link_id"] for e in rig.bus_events("order")}, 30)
    process = rig.processes["execution"]
    os.kill(process.pid, signal.SIGABRT)  # the harshest crash there is: faulthandler and core dumps included
    process.wait()
    rig.processes.pop("execution")
    rig.start("execution")
    eventually(lambda: len([e for e in rig.bus_events("account") if e["type"] == "Reconciled"]) > 1, 60)
    left = rig.told()
    assert "tg-9" in left, "the search looks where things are"
    assert "book-secret-1" not in left


def test_a_key_that_can_move_money_ends_the_process_with_2_and_a_sentence(rig: Fire) -> None:
    config = (rig.dir / "config.toml").read_text().replace("[execution]", "[execution]\ncheck_key = true")
    (rig.dir / "config.toml").write_text(config)
    rig._write("venue.json", {"key": "thief", "secret": "thief-secret-1"})
    rig.kill("sim")
    accounts = json.loads((rig.dir / "accounts.json").read_text())
    rig._write("accounts.json", [*accounts, {"key": "thief", "secret": "thief-secret-1", "permissions": ["Order", "Position", "Withdraw"]}])  # fmt: skip
    old = rig.url
    rig.start_exchange()
    (rig.dir / "config.toml").write_text(config.replace(old, rig.url).replace(old.replace("http", "ws"), rig.url.replace("http", "ws")))  # fmt: skip
    process = rig.start("execution")
    assert process.wait(60) == 2
    said = rig.log("execution").read_text()
    assert "it can move money (Withdraw)" in said
    assert "thief-secret-1" not in said


@pytest.mark.slow
def test_a_key_that_expires_under_load_gives_way_and_no_order_is_lost_or_doubled(rig: Fire) -> None:
    """Key A ends while orders flow; key B goes on, over HTTP and both sockets."""
    rig.kill("sim")
    ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 25))
    rig._write("accounts.json", [
        {"key": "book-key", "secret": "book-secret-1", "usdt": "100000", "expires_at": ends},
        {"key": "second-key", "secret": "book-secret-2", "account": "book-key"},
    ])  # fmt: skip
    rig._write("second.json", {"key": "second-key", "secret": "book-secret-2"})
    config, old = (rig.dir / "config.toml").read_text(), rig.url
    rig.start_exchange()
    config = config.replace(old, rig.url).replace(old.replace("http", "ws"), rig.url.replace("http", "ws"))
    second = f'[venue]\nsecond_key_file = "{rig.dir / "second.json"}"'
    (rig.dir / "config.toml").write_text(config.replace("[venue]", second))
    rig.up()
    sent: list[str] = []

    def one_more() -> bool:
        sent.append(f"tg-{len(sent)}")
        rig.write([(sent[-1], rig.intent(sent[-1], rig.price("0.95")))])
        return "changed over" in rig.log("execution").read_text()

    eventually(one_more, 60)
    for _ in range(10):
        one_more()
    eventually(lambda: sorted(rig.entries()) == sorted(set(sent) - rig.ended().keys()), 30)
    assert len(rig.entries()) > 10
    assert {rig.ended()[name] for name in set(sent) & rig.ended().keys()} <= {"OrderRejected"}
    assert "changed over" in rig.log("execution").read_text()
    assert "book-secret" not in rig.told()


def test_disconnection_protection_is_armed_where_it_is_offered_and_cancels_what_rests(rig: Fire) -> None:
    """kill -9, no watchdog: the exchange itself takes the resting entry out of the book."""
    rig.kill("sim")
    rig._write("accounts.json", [{"key": "book-key", "secret": "book-secret-1", "usdt": "100000", "dcp": True}])
    config, old = (rig.dir / "config.toml").read_text(), rig.url
    rig.start_exchange()
    config = config.replace(old, rig.url).replace(old.replace("http", "ws"), rig.url.replace("http", "ws"))
    (rig.dir / "config.toml").write_text(config.replace("[execution]", "[execution]\ndcp_window_s = 3"))
    resting = enter(rig)
    eventually(lambda: rig.private_get("/v5/account/query-dcp-info")["dcpInfos"], 30)
    eventually(lambda: any('"op":"subscribe"' in e["payload"] for e in rig.bus_events("venue")), 30)
    rig.kill("execution")
    eventually(lambda: resting not in rig.entries(), 30)
    row = rig.private_get(f"/v5/order/history?category=linear&symbol=BTCUSDT&orderLinkId={resting}")["list"][0]
    assert (row["orderStatus"], row["cancelType"]) == ("Cancelled", "CancelByDCP")
