"""Histories of the exchange are bounded: a month of trading takes no more memory than a day."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from sim.engine import account
from sim.faults.menu import Document, Duplicate
from tests.simbench import BTC, Bench

GROWTH = 150_000
"""Bytes between two checks that are noise."""


def trade(bench: Bench, orders: int) -> None:
    """Orders that fill and orders that are cancelled."""
    for number in range(orders):
        if number % 40 == 0:
            bench.book(lots=10_000)
            bench.play()
        link = f"m{bench.count}"
        bench.create("Buy" if number % 2 else "Sell", "0.001", orderLinkId=link)
        bench.create("Buy", "0.001", "59000", orderLinkId=f"r{link}")
        bench.ask("POST", "/v5/order/cancel", body={"category": "linear", "symbol": BTC, "orderLinkId": f"r{link}"})
        bench.frames.clear()


def test_memory_is_flat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account, "KEPT", 50)
    bench = Bench()
    bench.exchange.faults.load(Document(faults=(Duplicate(rate=0.2),)), bench.at)
    monkeypatch.setattr("sim.faults.injector.REMEMBERED", 50)
    for name in ("fills", "log"):
        setattr(bench.account, name, type(bench.account.fills)(maxlen=50))
    trade(bench, 300)
    gc.collect()
    tracemalloc.start()
    trade(bench, 100)
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    trade(bench, 400)
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after - before < GROWTH
    assert len(bench.account.by_link) <= 60
