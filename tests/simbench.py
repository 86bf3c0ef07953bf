"""A bench for the simulated exchange: a scripted tape, one trusted account, and short ways to ask for things."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from sim.config import DEFAULT_ACCOUNTS, SimConfig
from sim.engine.account import AccountSpec
from sim.engine.instruments import Instrument, rules_of
from sim.engine.orders import Order
from sim.exchange import Exchange
from sim.prints import BookChange, MarketEvent, Print
from sim.tapes.tape import Tape
from sim.wiretypes import Frame, WireReply, WireRequest

START = 1_704_088_800_000_000_000
"""2024-01-01 06:00 UTC."""
SECOND = 1_000_000_000
BTC = "BTCUSDT"
PRICE = 600_000
"""60000.0 in ticks."""


class ScriptedTape(Tape):
    """Events are given while it plays."""

    def __init__(self, prices: dict[str, str] | None = None) -> None:
        super().__init__([])
        for symbol, price in (prices or {BTC: "60000"}).items():
            self.instruments[symbol] = Instrument(symbol, rules_of(symbol, Decimal(price)))
            self.native_ms[symbol] = 0
        self.start_at = self.end_at = START
        self.script: list[MarketEvent] = []

    def window(self, until_at: int) -> list[MarketEvent]:
        events = sorted((e for e in self.script if e.at <= until_at), key=lambda e: e.at)
        self.script = [e for e in self.script if e.at > until_at]
        return events


class Bench:
    """BTCUSDT with a recorded book around 60000.0: 5 bids below, 5 asks above, 10 lots each, one USDT apart."""

    def __init__(
        self, config: SimConfig | None = None, book: bool = True, specs: Sequence[AccountSpec] = DEFAULT_ACCOUNTS
    ) -> None:
        self.tape = ScriptedTape()
        self.exchange = Exchange(config or SimConfig(rate_factor=1000), self.tape, 7, specs)
        self.at = START
        self.count = 0
        self.frames: list[Frame] = []
        if book:
            self.book()
            self.play()

    @property
    def account(self) -> Any:
        return self.exchange.desk.accounts["sim"]

    def position(self) -> int:
        return int(self.account.position(BTC).lots)

    def book(self, middle: int = PRICE, lots: int = 10, bids: list[tuple[int, int]] | None = None,
             asks: list[tuple[int, int]] | None = None) -> None:  # fmt: skip
        below = bids if bids is not None else [(middle - 10 * (i + 1), lots) for i in range(5)]
        above = asks if asks is not None else [(middle + 10 * (i + 1), lots) for i in range(5)]
        self.tape.script.append(BookChange(self.at + SECOND // 2, BTC, True, tuple(below), tuple(above)))

    def print(self, ticks: int, lots: int, side: int) -> None:
        self.tape.script.append(Print(self.at + SECOND // 2, BTC, ticks, lots, side))

    def play(self, seconds: int = 1) -> list[WireReply]:
        """Let seconds pass; private and public frames are kept in `frames`."""
        self.at += seconds * SECOND
        self.exchange.advance(self.at)
        outbox = self.exchange.collect()
        self.frames.extend(outbox.frames)
        return outbox.replies

    def ask(self, method: str, path: str, query: str = "", body: dict[str, Any] | None = None) -> dict[str, Any]:
        """A request through the queue; the decoded answer."""
        self.exchange.submit(self.request(method, path, body, query))
        (reply,) = self.play()
        return dict(json.loads(reply.body))

    def request(self, method: str, path: str, body: dict[str, Any] | None = None, query: str = "") -> WireRequest:
        self.count += 1
        return WireRequest(
            method=method, path=path, query=query, body=json.dumps(body) if body is not None else "",
            account="sim", request_id=f"execution-{self.count}",
        )  # fmt: skip

    def create(self, side: str, qty: str, price: str = "", **more: Any) -> dict[str, Any]:
        """A limit order, or a market order without a price; the whole answer."""
        body: dict[str, Any] = {"category": "linear", "symbol": BTC, "side": side, "qty": qty}
        body |= {"orderType": "Limit", "price": price} if price else {"orderType": "Market"}
        return self.ask("POST", "/v5/order/create", body=body | more)

    def order(self, answer: dict[str, Any]) -> Order:
        assert answer["retCode"] == 0, answer
        order = self.account.by_id[answer["result"]["orderId"]]
        assert isinstance(order, Order)
        return order

    def rows(self, topic: str) -> list[dict[str, Any]]:
        """Rows of the private frames of a topic, in order."""
        return [row for frame in self.frames if frame.topic == topic for row in json.loads(frame.text)["data"]]
