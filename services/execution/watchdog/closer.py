"""Closes an account by the exchange's own word: look, cancel, send a slice, look again. Shared by the watchdog and
`tidegate flatten --direct`.

One call at a time, awaited. What can be repeated (reads, cancel-all) is repeated; a create is repeated only when the exchange
says it did not read it. A create whose fate is unknown is left alone: the next look tells what is held.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from decimal import Decimal
from typing import TypeVar

import msgspec

from libs.bybit import rest, wire
from libs.bybit.errors import NEVER_PLACED, REFUSED_UNREAD, Outcome
from libs.bybit.market import InstrumentRow
from libs.common.errors import TidegateError
from libs.common.outside import Driver, OutsideMessage
from services.execution.watchdog import closing

TRIES = 8
GONE_AFTER_S = 5.0
"""A slice nobody knows of is dead then: the request's window and some more."""
FIRST_PAUSE_S, LAST_PAUSE_S = 0.05, 2.0
NOTHING = msgspec.Raw(b"{}")

T = TypeVar("T")


class Unanswered(Exception):  # noqa: N818 - a state of the exchange, handled by waiting
    """No usable answer, however often it was asked."""


class KeyRefusedError(TidegateError):
    """The exchange does not take the key: nothing can be done with it."""


class Caller:
    """Calls that are awaited, over a driver: the inbox it answers into."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._number = 0
        self._waiting: dict[int, asyncio.Future[OutsideMessage]] = {}
        self.answered = 0
        """Answers so far, refusals included: 0 means nobody is there."""

    async def start(self) -> None:
        await self._driver.start(self)

    async def stop(self) -> None:
        await self._driver.stop()

    def put(self, messages: list[OutsideMessage], at: int | None = None, number: int | None = None) -> None:
        """See libs/common/outside.Inbox."""
        for message in messages:
            future = self._waiting.pop(message.request, None)
            if future is not None and not future.done():
                future.set_result(message)

    async def ask(self, call: rest.Call) -> rest.Reply:
        """One attempt; what was lost is AMBIGUOUS, what was never sent is IP_LIMIT."""
        self._number += 1
        future = self._waiting[self._number] = asyncio.get_running_loop().create_future()
        await self._driver.send(call.numbered(self._number))
        message = await future
        if message.channel != "reply":
            outcome = Outcome.IP_LIMIT if message.channel == "unsent" else Outcome.AMBIGUOUS
            return rest.Reply(outcome, None, message.payload or message.channel, NOTHING, 0)
        self.answered += 1
        return rest.reply_of(message.status, message.payload)


class Look(msgspec.Struct, frozen=True):
    """The account after a round, in the exchange's own words. `dust`: held symbols no order can close."""

    orders: closing.Orders
    held: dict[str, Decimal]
    dust: tuple[str, ...] = ()

    @property
    def flat(self) -> bool:
        return set(self.held) <= set(self.dust)


Tell = Callable[..., None]
"""Called as tell(what, **figures) for everything that is done."""


class Sent(msgspec.Struct):
    """The last slice of a symbol, until its end is known."""

    link_id: str
    at_s: float


class Closer:
    """`may`: asked before each order is cancelled or sent; False ends the round early (execution is back)."""

    def __init__(
        self, caller: Caller, terms: closing.Terms, coin: str, tell: Tell, may: Callable[[], bool] = lambda: True
    ) -> None:
        self.caller, self.terms, self.coin, self.tell, self.may = caller, terms, coin, tell, may
        self._instruments: dict[str, InstrumentRow] = {}
        self._tries: dict[str, int] = {}
        """Slices of a symbol in a row that ended without closing anything."""
        self._sent: dict[str, Sent] = {}

    async def look(self) -> Look:
        """Read the account, touch nothing. Raises Unanswered or KeyRefusedError."""
        return Look(await self._orders(), {position.symbol: position.qty for position in await self._positions()})

    async def cancel_entries(self) -> Look:
        """Cancel whatever rests and may add risk; protective stops stay."""
        await self._cancel("Order")
        look = await self.look()
        if look.orders.entries and self.may():  # conditional ones, or more than one call takes
            for row in look.orders.entries:
                await self._ask_again(rest.cancel_order(row.order_link_id or "", row.symbol, order_id=row.order_id))
            look = await self.look()
        return look

    async def close_slices(self) -> Look:
        """Cancel entries, then one slice of every position; gives the account as it is afterwards."""
        await self.cancel_entries()
        dust = []
        for held in await self._positions():
            rules = await self._rules(held.symbol)
            if not await self._close(held, rules) and closing.is_dust(held, rules):
                dust.append(held.symbol)
        look = await self.look()
        return Look(look.orders, look.held, tuple(symbol for symbol in dust if symbol in look.held))

    async def cancel_everything(self, dust: tuple[str, ...] = ()) -> Look:
        """Stops too: for an account that is flat."""
        await self._cancel("")
        look = await self.look()
        return Look(look.orders, look.held, tuple(symbol for symbol in dust if symbol in look.held))

    async def _close(self, held: wire.Position, rules: closing.Rules) -> bool:
        """Send one slice, unless the last one is still under way; whether the exchange has one, or may have."""
        if not await self._ended(held.symbol):
            return True
        piece = closing.next_slice(held, rules, self.terms, self._tries.get(held.symbol, 0))
        if piece is None or not self.may():
            return False
        link_id = f"{closing.PREFIX}{secrets.token_hex(16)}"
        self._sent[held.symbol] = Sent(link_id, time.monotonic())
        reply = await self._create(piece.call(link_id))
        self.tell(
            "slice", symbol=piece.symbol, side=piece.side.value, qty=str(piece.qty), price=str(piece.price),
            link_id=link_id, answer=reply.outcome.value, code=reply.code, message=reply.message[:120],
        )  # fmt: skip
        if reply.outcome in NEVER_PLACED:
            del self._sent[held.symbol]
        return reply.outcome not in NEVER_PLACED

    async def _ended(self, symbol: str) -> bool:
        """Whether the last slice is done. One that closed nothing widens the next one's collar; one that is lost does not."""
        sent = self._sent.get(symbol)
        if sent is None:
            return True
        page = await self._read(rest.order_now(sent.link_id, symbol), rest.page_of)
        rows = wire.decode(list[wire.OrderRow], page.rows)
        if rows and rows[0].order_status not in wire.CLOSED_STATUSES:
            return False
        if not rows and time.monotonic() - sent.at_s < GONE_AFTER_S:
            return False
        del self._sent[symbol]
        if rows:
            closed_some = wire.amount(rows[0].cum_exec_qty) > 0
            self._tries[symbol] = 0 if closed_some else self._tries.get(symbol, 0) + 1
        return True

    async def _create(self, call: rest.Call) -> rest.Reply:
        """Again only while the exchange says that it turned the request away unread, or knows the id already."""
        reply = await self.caller.ask(call)
        pause_s = FIRST_PAUSE_S
        for _ in range(TRIES):
            if reply.outcome not in REFUSED_UNREAD or not self.may():
                break
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LAST_PAUSE_S)
            reply = await self.caller.ask(call)
        return reply

    async def _cancel(self, order_filter: str) -> None:
        if not self.may():
            return
        reply = await self._ask_again(rest.cancel_all(self.coin, order_filter=order_filter))
        rows = wire.decode(list[wire.OrderAck], rest.page_of(reply.result).rows) if reply.ok else []
        if rows:
            self.tell("cancelled", orders=len(rows))

    # --- asking -------------------------------------------------------------------------------------------------------

    async def _orders(self) -> closing.Orders:
        rows: list[wire.OrderRow] = []
        cursor: str | None = ""
        while cursor is not None:
            page = await self._read(rest.open_orders(self.coin, cursor), rest.page_of)
            rows += wire.decode(list[wire.OrderRow], page.rows)
            cursor = page.cursor or None
        return closing.sorted_orders(rows)

    async def _positions(self) -> list[wire.Position]:
        found: list[wire.Position] = []
        cursor: str | None = ""
        while cursor is not None:
            page = await self._read(rest.positions(self.coin, cursor), rest.page_of)
            found += rest.positions_of(page)
            cursor = page.cursor or None
        return found

    async def _rules(self, symbol: str) -> closing.Rules:
        if symbol not in self._instruments:
            (self._instruments[symbol],) = await self._read(rest.instruments(symbol=symbol), rest.instruments_of)
        (ticker,) = await self._read(rest.tickers(symbol=symbol), rest.tickers_of)
        return closing.rules_of(self._instruments[symbol], ticker)

    async def _read(self, call: rest.Call, parse: Callable[[msgspec.Raw], T]) -> T:
        """A read that was refused is no empty account: it counts as unanswered."""
        reply = await self._ask_again(call)
        if not reply.ok:
            raise _unanswered(call, reply)
        try:
            return parse(reply.result)
        except msgspec.DecodeError as error:
            raise Unanswered(f"{call.target.partition('?')[0]}: {error}") from error

    async def _ask_again(self, call: rest.Call) -> rest.Reply:
        """Until it is answered: for what may be asked any number of times. A refusal that is final is given back."""
        pause_s = FIRST_PAUSE_S
        for _ in range(TRIES):
            reply = await self.caller.ask(call)
            if reply.outcome is Outcome.AUTH:
                raise KeyRefusedError(
                    f"expected the exchange to take the key, was {reply.code} {reply.message}; name a valid key file"
                )
            if reply.ok or reply.outcome in NEVER_PLACED:
                return reply
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LAST_PAUSE_S)
        raise _unanswered(call, reply)


def _unanswered(call: rest.Call, reply: rest.Reply) -> Unanswered:
    return Unanswered(f"{call.target.partition('?')[0]}: {reply.code or ''} {reply.message}".strip())
