"""Order entry over WebSocket (/v5/trade): the requests of REST in another envelope, on a session that signed once."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import msgspec

from sim.chance import identifier
from sim.door.auth import Keyring, check_time
from sim.door.rates import SECOND_MS, SOCKET_LIMIT, Window
from sim.wiretypes import RefusalError, WireReply, WireRequest

PATHS = {
    op: f"/v5/{op.replace('.', '/')}"
    for op in (
        "order.create",
        "order.amend",
        "order.cancel",
        "order.create-batch",
        "order.amend-batch",
        "order.cancel-batch",
    )
}
REMEMBERED = 10_000
"""Request ids of a session that may not come again."""

_ENCODE = msgspec.json.Encoder().encode
Message = dict[str, Any]


class TradeSocket:
    """The protocol state of one connection. `factor`: Bybit's limits times this."""

    def __init__(self, conn_id: str, address: str, keys: Keyring, factor: int) -> None:
        self.conn_id, self.address = conn_id, address
        self.key = ""
        self._keys = keys
        self._limit, self._window = SOCKET_LIMIT * factor, Window(SECOND_MS)
        self._seen: OrderedDict[str, None] = OrderedDict()

    def pong(self, message: Message, now_ms: int) -> str:
        body = {"retCode": 0, "retMsg": "OK", "op": "pong", "data": [str(now_ms)], "connId": self.conn_id}
        return self._text(message, body)

    def auth(self, message: Message, now_ms: int) -> str:
        try:
            if self.key:
                raise RefusalError(20001, "Repeat auth")
            key, expires, sign = auth_args(message)
            self.key = self._keys.session_spec(key, expires, sign, self.address, now_ms).key
        except RefusalError as refusal:
            return self.refused(message, refusal)
        return self._text(message, {"retCode": 0, "retMsg": "OK", "op": "auth", "connId": self.conn_id})

    def request(self, message: Message, now_ms: int) -> WireRequest:
        """What the operation asks of the exchange. Raises RefusalError."""
        path = PATHS.get(str(message.get("op", "")))
        if path is None:
            raise RefusalError(10404, f"op {message.get('op', '')} not found")
        if not self.key:
            raise RefusalError(10003, "Request not authorized: auth comes first")
        if not self._window.take(self._limit, now_ms):
            raise RefusalError(10403, "Exceed IP rate limit.")
        self._remember(str(message.get("reqId", "")))
        args, header = message.get("args"), message.get("header")
        if not isinstance(args, list) or len(args) != 1 or not isinstance(args[0], dict):
            raise RefusalError(10001, "params error: args must hold one object")
        if not isinstance(header, dict) or not header.get("X-BAPI-TIMESTAMP"):
            raise RefusalError(10001, "params error: header X-BAPI-TIMESTAMP is required")
        check_time(str(header["X-BAPI-TIMESTAMP"]), str(header.get("X-BAPI-RECV-WINDOW") or ""), now_ms)
        return WireRequest(
            method="POST", path=path, body=_ENCODE(args[0]).decode(), session_key=self.key, address=self.address
        )

    def answer(self, message: Message, reply: WireReply) -> str:
        """The reply of the exchange as this socket says it."""
        body = msgspec.json.decode(reply.body)
        return self._text(
            message,
            {
                "retCode": body["retCode"],
                "retMsg": body["retMsg"],
                "op": message["op"],
                "data": body["result"],
                "retExtInfo": body["retExtInfo"],
                "header": {
                    **reply.headers,
                    "Traceid": identifier("trace", self.conn_id, reply.token).replace("-", ""),
                    "Timenow": str(body["time"]),
                },
                "connId": self.conn_id,
            },
        )

    def refused(self, message: Message, refusal: RefusalError) -> str:
        body = {"retCode": refusal.code, "retMsg": refusal.message, "op": str(message.get("op", ""))}
        return self._text(message, body | {"data": {}, "retExtInfo": {}, "connId": self.conn_id})

    def _remember(self, request_id: str) -> None:
        if len(request_id) > 36:
            raise RefusalError(10001, "params error: reqId is longer than 36")
        if not request_id:
            return
        if request_id in self._seen:
            raise RefusalError(20006, "Duplicate reqId")
        self._seen[request_id] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)

    @staticmethod
    def _text(message: Message, body: Message) -> str:
        """The request id comes first, as it was sent; without one there is none."""
        head = {"reqId": message["reqId"]} if "reqId" in message else {}
        return _ENCODE(head | body).decode()


def auth_args(message: Message) -> tuple[str, str, str]:
    """(key, expires, signature) of an `auth`; raises RefusalError when they are not there."""
    args = message.get("args")
    if not isinstance(args, list) or len(args) < 3:
        raise RefusalError(10001, "Params Error")
    return str(args[0]), str(args[1]), str(args[2])
