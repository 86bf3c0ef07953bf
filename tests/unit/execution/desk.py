"""A desk to test execution's core at: the real stepper, and a venue whose answers the test writes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, TypeVar
from urllib.parse import parse_qs

import msgspec

from libs.common import seal
from libs.common.decider import Request
from libs.common.events import (
    Event,
    Instant,
    InstrumentDefined,
    OrderIntent,
    Purpose,
    TimeInForce,
    VenueMessage,
)
from libs.common.record import Record, Started, Timer
from libs.common.stepper import Local, Stepper
from libs.common.values import Side
from services.execution.config import ExecutionConfig
from services.execution.core import ExecutionCore

S = 1_000_000_000
MS = 1_000_000
START = 1_700_000_000 * S
PRIVATE_KEY, PUBLIC_KEY = seal.generate()
KEY_ID = "test"
FROM_NOW, TTL = 0, 2 * S
E = TypeVar("E", bound=Event)
Row = dict[str, Any]

CONFIG = ExecutionConfig(seal_keys={KEY_ID: PUBLIC_KEY}, symbols=("BTCUSDT",))


def intent(link_id: str = "tg-1", **changes: Any) -> OrderIntent:
    """A sealed approval: buy 0.01 BTCUSDT at 30000, entry, IOC; fields in `changes` replace that before sealing.

    Without `expires_at` the desk seals it for the longest span there is when it is fed.
    """
    fields: dict[str, Any] = {
        "order_link_id": link_id,
        "strategy": "trend",
        "symbol": "BTCUSDT",
        "side": Side.BUY,
        "qty": Decimal("0.01"),
        "price": Decimal(30000),
        "time_in_force": TimeInForce.IOC,
        "reduce_only": False,
        "purpose": Purpose.ENTRY,
        "expires_at": FROM_NOW,
        "limits_version": 1,
        "key_id": KEY_ID,
    }
    return seal.sign(PRIVATE_KEY, OrderIntent(**(fields | changes)))


def exit_intent(link_id: str, **changes: Any) -> OrderIntent:
    given = {"side": Side.SELL, "reduce_only": True, "purpose": Purpose.EXIT} | changes
    return intent(link_id, **given)


def order_row(link_id: str = "tg-1", status: str = "New", cum: str = "0", updated_ms: int = 1, **changes: Any) -> Row:
    row = {
        "orderId": f"id-{link_id}", "orderLinkId": link_id, "category": "linear", "symbol": "BTCUSDT", "side": "Buy",
        "qty": "0.01", "price": "30000", "orderStatus": status, "rejectReason": "EC_NoError", "cancelType": "UNKNOWN",
        "cumExecQty": cum, "leavesQty": "", "updatedTime": str(updated_ms), "createdTime": "1",
    }  # fmt: skip
    return row | changes


def execution_row(exec_id: str, qty: str, link_id: str = "tg-1", at_ms: int = START // MS + 1, **changes: Any) -> Row:
    row = {
        "execId": exec_id, "orderId": f"id-{link_id}", "orderLinkId": link_id, "category": "linear", "symbol": "BTCUSDT",
        "side": "Buy", "execType": "Trade", "execQty": qty, "execPrice": "30000", "execFee": str(Decimal(qty) * Decimal("16.5")), "feeRate": "0.00055",
        "isMaker": False, "execTime": str(at_ms), "seq": 1, "stopOrderType": "UNKNOWN",
    }  # fmt: skip
    return row | changes


class Desk:
    """Feeds records and keeps the outputs. `wallet`, `positions`, `open_orders`, `executions` answer the polls."""

    def __init__(self, config: ExecutionConfig = CONFIG, *, instrument: bool = True) -> None:
        self.core = ExecutionCore(config)
        self.stepper = Stepper(self.core)
        self.now = START
        self.events: list[Event] = []
        self.records: list[Record] = []
        self.wallet, self.incarnation = "10000", ""
        self.positions: list[Row] = []
        self.open_orders: list[Row] = []
        self.executions: list[Row] = []
        self.log: list[Row] = []
        self.margin_mode, self.dcp = "REGULAR_MARGIN", "OFF"
        self._seqs: dict[str, int] = {}
        if instrument:
            self.feed(
                "instrument",
                InstrumentDefined(
                    symbol="BTCUSDT",
                    tick_size=Decimal("0.1"),
                    lot_size=Decimal("0.001"),
                    min_qty=Decimal("0.001"),
                    max_qty=Decimal(100),
                    min_notional=Decimal(5),
                ),
            )

    @property
    def state(self) -> Any:
        return self.core.state

    # --- inputs -----------------------------------------------------------------------------------------------------

    def feed(self, stream: str, body: Event) -> list[Event]:
        """One record of another service's stream; gives what it caused."""
        if isinstance(body, OrderIntent) and body.expires_at == FROM_NOW:
            body = seal.sign(PRIVATE_KEY, msgspec.structs.replace(body, seal="", expires_at=self.now + TTL))
        seq = self._seqs[stream] = self._seqs.get(stream, 0) + 1
        entry = (self.now // MS, self.stepper.position.clock[1] + 1)
        record = Record(stream, entry, f"{stream}-{seq}", seq, self.now, (("tick", seq),), f"chain-{seq}", body)
        if self.core.guards(record):
            commit = self.stepper.propose(record, self.core.guards(record))
            calls = self.core.calls(commit.outputs)
            before = {request.number for request in self.core.requests()}
            self.stepper.accept(commit)
            after = {request.number for request in self.core.requests()}
            assert len(after - before) == calls, "calls() must foresee exactly what accept() releases"
            return self._keep(commit.outputs)
        return self._keep(self.stepper.step([record]).outputs)

    def local(self, body: Event) -> list[Event]:
        return self._keep(self.stepper.step([Local(body, self.now)]).outputs)

    def start(self, *, fresh: bool = True) -> list[Event]:
        return self.local(Started(fresh=fresh))

    def pass_time(self, ms: int = 100) -> list[Event]:
        self.now += ms * MS
        return self.local(Timer())

    def pass_instant(self, ms: int = 1000) -> list[Event]:
        self.now += ms * MS
        return self.feed("clock", Instant(number=self.now, window_ms=ms))

    def message(
        self, channel: str, payload: Any = "", request: int = 0, status: int = 0, **headers: str
    ) -> list[Event]:
        text = payload if isinstance(payload, str) else msgspec.json.encode(payload).decode()
        body = VenueMessage(
            channel=channel, payload=text, request=request, status=status, headers=headers, received_at=self.now
        )
        return self.local(body)

    def frame(self, topic: str, *rows: Row) -> list[Event]:
        sent_ms = self.now // MS
        return self.message("private", {"id": "1", "topic": topic, "creationTime": sent_ms, "data": list(rows)})

    def reply(
        self, request: Request, result: Any = None, code: int = 0, message: str = "OK", **headers: str
    ) -> list[Event]:
        envelope = {
            "retCode": code,
            "retMsg": message,
            "result": {} if result is None else result,
            "time": self.now // MS,
        }
        return self.message("reply", envelope, request.number, 200, **headers)

    # --- the venue ----------------------------------------------------------------------------------------------------

    def calls(self, path: str) -> list[Request]:
        """Requests under way to a path, oldest first."""
        return [request for request in self.core.requests() if request.target.partition("?")[0].endswith(path)]

    def call(self, path: str) -> Request:
        found = self.calls(path)
        assert len(found) == 1, f"expected one call to {path}, was {found}"
        return found[0]

    def answer_polls(self) -> list[Event]:
        """Answer everything but order writes and lookups, until nothing of it is left."""
        caused: list[Event] = []
        while todo := [request for request in self.core.requests() if self._poll_result(request) is not None]:
            for request in todo:
                caused += self.reply(request, self._poll_result(request))
        return caused

    def opened(self) -> Desk:
        """A fresh book after its first agreeing poll."""
        self.start()
        self.answer_polls()
        self.events.clear()
        return self

    def _poll_result(self, request: Request) -> Any:
        path, _, query = request.target.partition("?")
        asked = parse_qs(query)
        if "orderLinkId" in asked:
            return None
        match path:
            case "/v5/market/time":
                return {"timeSecond": "1", "timeNano": str(self.now), "incarnation": self.incarnation}
            case "/v5/position/list":
                return {"list": self.positions, "nextPageCursor": ""}
            case "/v5/order/realtime":
                return {"list": self.open_orders, "nextPageCursor": ""}
            case "/v5/execution/list":
                since = int(asked["startTime"][0])
                return {"list": [row for row in self.executions if int(row["execTime"]) >= since], "nextPageCursor": ""}
            case "/v5/account/wallet-balance":
                coin = {"coin": "USDT", "walletBalance": self.wallet, "equity": self.wallet}
                return {"list": [{"totalAvailableBalance": self.wallet, "coin": [coin]}]}
            case "/v5/account/transaction-log":
                return {"list": self.log, "nextPageCursor": ""}
        return self._terms_result(path, asked)

    def _terms_result(self, path: str, asked: dict[str, list[str]]) -> Any:
        match path:
            case "/v5/account/info":
                return {"marginMode": self.margin_mode}
            case "/v5/account/fee-rate":
                return {"list": [{"symbol": asked["symbol"][0], "takerFeeRate": "0.00055", "makerFeeRate": "0.0002"}]}
            case "/v5/account/query-dcp-info":
                return {"dcpInfos": [{"product": "DERIVATIVES", "dcpStatus": self.dcp, "timeWindow": "10"}]}
        asserted = ("set-leverage", "switch-mode", "set-margin-mode", "disconnected-cancel-all")
        return {} if path.endswith(asserted) else None

    # --- outputs ----------------------------------------------------------------------------------------------------

    def of(self, kind: type[E]) -> list[E]:
        """Every output of a type so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def one(self, kind: type[E]) -> E:
        found = self.of(kind)
        assert len(found) == 1, f"expected one {kind.__name__}, was {found}"
        return found[0]

    def _keep(self, records: list[Record]) -> list[Event]:
        own = [record for record in records if not isinstance(record.body, VenueMessage)]
        self.records += own
        self.events += [record.body for record in own]
        # The state survives a snapshot at any point.
        snapshot = self.core.snapshot()
        self.core.restore(snapshot)
        assert self.core.snapshot() == snapshot
        return [record.body for record in own]


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]
