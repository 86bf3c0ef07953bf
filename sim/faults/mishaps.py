"""What faults do inside the exchange: requests that are answered by somebody else, orders that fill in their own time, strangers."""

from __future__ import annotations

import heapq
from typing import Any

import msgspec

from sim.door.auth import Keyring
from sim.engine.orders import Order
from sim.faults.injector import Active, Fate, Injector, answer_of
from sim.faults.menu import OVER_SOCKET, Foreign, Restart
from sim.routes.params import params_of
from sim.venue import Venue
from sim.wiretypes import WireReply, WireRequest

_ENCODE = msgspec.json.Encoder().encode
Answered = tuple[int, dict[str, Any], dict[str, str]]
"""Status, envelope without its time, headers."""


class Mishaps:
    """Sits between the gateway and the engine of one exchange."""

    def __init__(self, faults: Injector, venue: Venue, keys: Keyring) -> None:
        self.faults, self._venue, self._keys = faults, venue, keys
        self.struck: list[Active] = []
        """Faults of connections that are due: whoever holds the connections empties the list."""
        self._fates: dict[int, Fate] = {}
        self.late: list[tuple[int, int, Order, bool]] = []
        """Orders that fill in their own time: (when, number, order, all of it or the next step)."""
        self._count = 0
        venue.desk.pieces = self._pieces

    # --- requests ----------------------------------------------------------------------------------------------------

    def admit(
        self, request: WireRequest, token: int, arrived: int, reaches: int, leaves: int
    ) -> tuple[int | None, WireReply | None]:
        """(when the request reaches the engine, None: never; what answers it instead of the engine)."""
        fate = self.faults.fate(request, self._keys.name_of(request), arrived)
        reply = None
        if fate.answer is not None:
            leaves += fate.wait
            code = OVER_SOCKET.get(fate.answer, fate.answer) if request.session_key else fate.answer
            status, body, headers = answer_of(code, leaves)
            reply = self.faults.reply(WireReply(
                token=token, client=request.client, request_id=request.request_id, status=status, at=leaves, body=body,
                headers=headers,
            ))  # fmt: skip
        if not fate.arrives:
            return None, reply
        self._fates[token] = fate
        return reaches + fate.held, reply

    def fate(self, token: int) -> Fate | None:
        """Of a request that reaches the engine; None when nothing happens to it. Given once."""
        return self._fates.pop(token, None) if self._fates else None

    def overtaken(self, fate: Fate, request: WireRequest, at: int) -> Answered | None:
        """The acknowledgement of a cancel whose order will fill all the same; None: nothing of the kind."""
        if fate.fills_after < 0:
            return None
        params = params_of(request)
        account = self._venue.desk.accounts.get(self._keys.name_of(request))
        order = account.find(str(params.get("orderId", "")), str(params.get("orderLinkId", ""))) if account else None
        if order is None or order.status not in ("New", "PartiallyFilled"):
            return None
        self._later(at + fate.fills_after, order, True)
        result = {"orderId": order.order_id, "orderLinkId": order.link_id}
        return 200, {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}}, {}

    # --- orders ------------------------------------------------------------------------------------------------------

    def _pieces(self, order: Order) -> list[int] | None:
        """Lots of a new order that may have filled after each step, the first now; None: as it meets the market."""
        if not order.lots:  # a spot order for an amount of money has no quantity yet
            return None
        found = self.faults.pieces(order.account, order.link_id, order.symbol, order.lots, self._venue.now)
        if found is None:
            return None
        steps, gap = found
        for number in range(1, len(steps)):
            self._later(self._venue.now + number * gap, order, False)
        return steps

    def _later(self, at: int, order: Order, whole: bool) -> None:
        self._count += 1
        heapq.heappush(self.late, (at, self._count, order, whole))

    def proceed(self, at: int) -> bool:
        """The next order that fills in its own time and is due by `at` does so; False: none is."""
        if self.late[0][0] > at:
            return False
        due, _, order, whole = heapq.heappop(self.late)
        self._venue.now = max(self._venue.now, due)
        if order.is_open:
            self._venue.desk.proceed(order, self._venue.now, whole)
        return True

    # --- deeds -------------------------------------------------------------------------------------------------------

    def deeds(self, at: int) -> list[WireRequest]:
        """What faults do by themselves by `at`: orders of strangers are given, what concerns connections is `struck`."""
        requests = []
        for active in self.faults.due(at):
            fault = active.fault
            if isinstance(fault, Foreign):
                if active.strikes(at, self._venue.now):
                    requests.append(self._foreign(fault))
                continue
            self.struck.append(active)
            if isinstance(fault, Restart):
                self._venue.restarted_at = self._venue.now
        return requests

    def _foreign(self, fault: Foreign) -> WireRequest:
        order = {"category": fault.category, "symbol": fault.symbol, "side": fault.side, "qty": fault.qty}
        order |= {"orderType": "Limit", "price": fault.price} if fault.price else {"orderType": "Market"}
        account = fault.match.account or next(iter(self._venue.desk.accounts))
        return WireRequest(method="POST", path="/v5/order/create", body=_ENCODE(order).decode(), account=account)
