"""The store: what is written comes back, and nothing of a failed write."""

from __future__ import annotations

from pathlib import Path

import pytest

from libs.common.errors import UsageError
from sim.config import SimConfig
from sim.door.accounts import read_accounts
from sim.engine.account import Account, AccountSpec
from sim.engine.orders import Order
from sim.exchange import Exchange
from sim.store import Store
from tests.simbench import BTC, Bench, ScriptedTape


def traded() -> Bench:
    bench = Bench()
    bench.exchange = Exchange(SimConfig(rate_factor=1000), bench.tape, 7, journal=True)
    bench.book()
    bench.play()
    bench.create("Buy", "0.02", "60010", orderLinkId="a", stopLoss="59000")
    bench.create("Sell", "0.01", "60500", orderLinkId="b", reduceOnly=True)
    return bench


def test_a_restored_exchange_knows_everything(tmp_path: Path) -> None:
    bench = traded()
    store = Store(tmp_path, 7)
    store.save(bench.exchange.changes())
    store.close()
    again = Store(tmp_path, 7)
    fresh = Exchange(SimConfig(), ScriptedTape(), 7, incarnation=again.incarnation)
    fresh.restore(again.load())
    ours, theirs = (e.desk.accounts["sim"] for e in (bench.exchange, fresh))
    for name in ("wallet", "opening", "realised", "positions", "open_orders"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert list(ours.fills) == list(theirs.fills)
    assert list(ours.log) == list(theirs.log)
    assert list(ours.closed) == list(theirs.closed)
    assert [o.link_id for o in fresh.desk.resting[BTC]] == ["b"]
    assert [o.stop_type for o in fresh.desk.conditional[BTC]] == ["StopLoss"]
    assert fresh.desk.counters == bench.exchange.desk.counters
    again.close()


def test_a_failed_write_leaves_the_state_before(tmp_path: Path) -> None:
    bench = traded()
    store = Store(tmp_path, 7)
    changes = bench.exchange.changes()
    changes.fills.append("no fill")  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        store.save(changes)
    assert store.load().orders == []
    changes.fills.pop()
    store.save(changes)
    assert len(store.load().orders) == 3
    store.close()


def test_an_account_forgets_the_oldest_closed_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.engine.account.KEPT", 3)
    account = Account("sim", 0, 0, 0, 0)
    for number in range(6):
        order = Order(account="sim", number=number, order_id=f"o{number}", link_id=f"l{number}", symbol=BTC, side=1,
                      kind="Limit", ticks=1, lots=1, tif="GTC", created_at=0, updated_at=0)  # fmt: skip
        account.add(order)
        order.status = "Cancelled"
        account.close(order)
    assert [order.number for order in account.closed] == [3, 4, 5]
    assert set(account.by_id) == {"o3", "o4", "o5"}
    assert set(account.by_link) == {"l3", "l4", "l5"}


def test_account_files(tmp_path: Path) -> None:
    assert read_accounts(None) == [AccountSpec()]
    file = tmp_path / "accounts.json"
    file.write_text('[{"key":"a","secret":"s","usdt":"250"},{"key":"b","secret":"t","account":"a"}]')
    assert [spec.name for spec in read_accounts(file)] == ["a", "a"]
    for text in ("[]", "{", '[{"key":"a"},{"key":"a"}]', '[{"usdt":"much"}]'):
        file.write_text(text)
        with pytest.raises(UsageError, match=r"accounts\.json"):
            read_accounts(file)
    with pytest.raises(UsageError, match="readable"):
        read_accounts(tmp_path / "none.json")
