"""Bybit v5 payloads as structs. `*Row` is the wire (strings, "" for empty); the plain names are clean values.

Unknown keys are ignored and unknown enum values kept as text: the venue adds both without notice. Field names are the
venue's in snake case; money becomes Decimal with its scale kept.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, TypeVar, cast

import msgspec

from libs.common.values import symbol_of

T = TypeVar("T")

Text = str | None
"""A wire string; the venue writes "" and, rarely, null for what is not set."""


def decimal(text: Text) -> Decimal | None:
    """A wire number, None when it is empty."""
    return Decimal(text) if text else None


def amount(text: Text) -> Decimal:
    """A wire number, 0 when it is empty."""
    return Decimal(text) if text else Decimal(0)


def instant_ms(text: Text) -> int:
    """A wire time in ms, 0 when it is empty."""
    return int(text) if text else 0


class Row(msgspec.Struct, rename="camel", gc=False):
    """Base of the wire rows: camelCase keys, unknown ones ignored."""


# --- envelopes ------------------------------------------------------------------------------------------------------


class Envelope(msgspec.Struct, rename={"ret_code": "retCode", "ret_msg": "retMsg"}, gc=False):
    """Every REST body. `result` stays raw until its caller says what it is."""

    ret_code: int
    ret_msg: str | None = ""
    result: msgspec.Raw = msgspec.Raw(b"{}")
    time: int = 0


class Frame(msgspec.Struct, rename={"creation_time": "creationTime"}, gc=False):
    """Every WebSocket message: data has a `topic`, an answer has an `op`."""

    topic: str = ""
    op: str = ""
    type: str = ""
    success: bool | None = None
    ret_msg: str | None = ""
    req_id: str | int | None = ""
    ts: int = 0
    cts: int = 0
    creation_time: int = 0
    data: msgspec.Raw = msgspec.Raw(b"null")

    @property
    def sent_ms(self) -> int:
        """When the venue sent it: `creationTime` on private topics, `ts` on public ones."""
        return self.creation_time or self.ts


class Page(msgspec.Struct, rename={"cursor": "nextPageCursor", "rows": "list"}, gc=False):
    """A paged list; the cursor is percent-encoded already and goes back as received."""

    rows: msgspec.Raw = msgspec.Raw(b"[]")
    cursor: str | None = ""
    category: Text = ""
    """Of orders and executions, whose rows do not repeat it."""


# --- orders ---------------------------------------------------------------------------------------------------------

OPEN_STATUSES = frozenset({"New", "PartiallyFilled", "Untriggered", "Triggered"})
CLOSED_STATUSES = frozenset({"Rejected", "Filled", "Cancelled", "PartiallyFilledCanceled", "Deactivated"})
STOP_TYPES = frozenset({"TakeProfit", "StopLoss", "TrailingStop", "PartialTakeProfit", "PartialStopLoss"})
"""stopOrderType of what the venue made for a position out of an order's attached stop."""


class OrderRow(Row):
    order_id: str = ""
    order_link_id: Text = ""
    category: str = "linear"
    symbol: str = ""
    side: Text = ""
    qty: Text = ""
    price: Text = ""
    order_status: str = ""
    reject_reason: Text = ""
    cancel_type: Text = ""
    cum_exec_qty: Text = ""
    time_in_force: Text = ""
    reduce_only: bool = False
    stop_order_type: Text = ""
    parent_order_link_id: Text = ""
    create_type: Text = ""
    created_time: Text = ""
    updated_time: Text = ""


VENUE_MADE = frozenset({"CreateByLiq", "CreateBySettle", "CreateByTakeOver_PassThrough", "CreateByAdl_PassThrough"})
"""createType of orders with which the venue itself closes a position: liquidation, settlement, takeover, deleveraging."""


class Order(msgspec.Struct, frozen=True, gc=False):
    """An order as the venue tells it, from the stream, realtime or history."""

    order_id: str
    link_id: str
    symbol: str
    side: str
    qty: Decimal
    status: str
    reason: str
    """rejectReason, or cancelType where that says more; "" when there is none."""
    cum_qty: Decimal
    stop_type: str
    parent_link_id: str
    updated_ms: int
    is_venues: bool = False
    """The venue made it, to close a position; its executions say how."""

    @property
    def closed(self) -> bool:
        return self.status in CLOSED_STATUSES

    @property
    def attached_stop(self) -> bool:
        return self.stop_type in STOP_TYPES


def order_of(row: OrderRow, category: Text = "") -> Order:
    """Wire row to value. `category`: of the page it stands on; a frame's row names its own."""
    stop_type = row.stop_order_type or ""
    return Order(
        order_id=row.order_id,
        link_id=row.order_link_id or "",
        symbol=symbol_of(row.symbol, category or row.category),
        side=row.side or "",
        qty=amount(row.qty),
        status=row.order_status,
        reason=_reason(row),
        cum_qty=amount(row.cum_exec_qty),
        stop_type="" if stop_type == "UNKNOWN" else stop_type,
        parent_link_id=row.parent_order_link_id or "",
        updated_ms=instant_ms(row.updated_time),
        is_venues=(row.create_type or "") in VENUE_MADE,
    )


def _reason(row: OrderRow) -> str:
    for text in (row.reject_reason, row.cancel_type):
        if text and text not in ("EC_NoError", "UNKNOWN"):
            return text
    return ""


# --- executions -----------------------------------------------------------------------------------------------------


class ExecutionRow(Row):
    exec_id: str
    category: str = "linear"
    symbol: str = ""
    order_id: Text = ""
    order_link_id: Text = ""
    side: Text = ""
    exec_type: str = "UNKNOWN"
    exec_qty: Text = ""
    exec_price: Text = ""
    exec_fee: Text = ""
    fee_currency: Text = ""
    fee_rate: Text = ""
    order_qty: Text = ""
    is_maker: bool = False
    exec_time: Text = ""
    seq: int = 0
    stop_order_type: Text = ""


class Execution(msgspec.Struct, frozen=True, gc=False):
    """A fill, a funding payment, or a move of the position by the venue. `fee` > 0 was paid."""

    exec_id: str
    symbol: str
    order_id: str
    link_id: str
    side: str
    kind: str
    """execType: Trade, Funding, AdlTrade, BustTrade, Settle, ..."""
    qty: Decimal
    price: Decimal
    fee: Decimal
    rate: Decimal
    is_maker: bool
    exec_ms: int
    seq: int
    stop_type: str
    order_qty: Decimal = Decimal(0)
    """Of the whole order, as the venue cut it down; 0 when it does not say."""
    fee_coin: str = ""
    """What the fee was taken in; "" for the settle coin."""


def execution_of(row: ExecutionRow, category: Text = "") -> Execution:
    """Wire row to value. `category`: as for `order_of`."""
    stop_type = row.stop_order_type or ""
    return Execution(
        exec_id=row.exec_id,
        symbol=symbol_of(row.symbol, category or row.category),
        order_id=row.order_id or "",
        link_id=row.order_link_id or "",
        side=row.side or "",
        kind=row.exec_type,
        qty=amount(row.exec_qty),
        price=amount(row.exec_price),
        fee=amount(row.exec_fee),
        rate=amount(row.fee_rate),
        is_maker=row.is_maker,
        exec_ms=instant_ms(row.exec_time),
        seq=row.seq,
        stop_type="" if stop_type == "UNKNOWN" else stop_type,
        order_qty=amount(row.order_qty),
        fee_coin=row.fee_currency or "",
    )


# --- account --------------------------------------------------------------------------------------------------------


class PositionRow(Row):
    symbol: str = ""
    side: Text = ""
    size: Text = ""
    avg_price: Text = ""
    entry_price: Text = ""


class Position(msgspec.Struct, frozen=True, gc=False):
    """Net position of a symbol; `qty` is signed, negative when short."""

    symbol: str
    qty: Decimal
    entry_price: Decimal


def position_of(row: PositionRow) -> Position:
    """Wire row to value; the entry is `avgPrice` in REST and `entryPrice` on the stream."""
    size = amount(row.size)
    return Position(
        symbol=row.symbol,
        qty=-size if row.side == "Sell" else size,
        entry_price=amount(row.avg_price or row.entry_price),
    )


class CoinRow(Row):
    coin: str = ""
    wallet_balance: Text = ""
    equity: Text = ""
    locked: Text = ""


class WalletRow(Row):
    total_equity: Text = ""
    total_available_balance: Text = ""
    account_mm_rate: Text = msgspec.field(name="accountMMRate", default="")
    coin: list[CoinRow] = []


class Wallet(msgspec.Struct, frozen=True, gc=False):
    """The settle coin of the unified account; a coin at zero is left out by the venue and is 0 here."""

    balance: Decimal
    equity: Decimal
    available: Decimal
    coins: dict[str, Decimal] = {}
    """Balance of every coin that was told, the settle coin among them."""
    free: dict[str, Decimal] = {}
    """The same without what open spot orders hold."""
    margin_ratio: Decimal = Decimal(0)
    """Maintenance margin over margin balance of the account."""


def wallet_of(row: WalletRow, coin: str) -> Wallet:
    """Wire row to value for one coin."""
    coins = {held.coin: amount(held.wallet_balance) for held in row.coin}
    free = {held.coin: coins[held.coin] - amount(held.locked) for held in row.coin}
    ratio = amount(row.account_mm_rate)
    for held in row.coin:
        if held.coin == coin:
            equity = amount(held.equity)
            available = decimal(row.total_available_balance)
            rest = equity if available is None else available
            return Wallet(coins[coin], equity, rest, coins, free, ratio)
    return Wallet(Decimal(0), Decimal(0), amount(row.total_available_balance), coins, free, ratio)


class AccountInfo(Row):
    margin_mode: str = ""
    unified_margin_status: int = 0
    incarnation: str = ""


class LogRow(Row):
    """One row of the transaction log: what changed the wallet of a coin, and by how much."""

    id: str = ""
    type: str = ""
    currency: str = ""
    change: Text = ""
    transaction_time: Text = ""


class DcpInfo(Row):
    product: str = ""
    dcp_status: str = ""
    time_window: Text = ""


class DcpInfos(Row):
    dcp_infos: list[DcpInfo] = []


class FeeRate(Row):
    symbol: str = ""
    taker_fee_rate: Text = ""
    maker_fee_rate: Text = ""


class KeyInfo(Row):
    """What /v5/user/query-api tells of the key in use."""

    read_only: int = 0
    permissions: dict[str, list[str] | None] = {}
    ips: list[str] | None = []
    expired_at: Text = ""
    created_at: Text = ""
    deadline_day: int | None = None
    type: int | None = None
    """1 personal, 2 of a third-party app."""
    is_master: bool | None = None
    kyc_region: Text = ""


class ServerTime(Row):
    """`incarnation` is our simulator's: it changes when the simulator lost its state."""

    time_second: Text = ""
    time_nano: Text = ""
    incarnation: str = ""


class OrderAck(Row):
    order_id: Text = ""
    order_link_id: Text = ""


_frames = msgspec.json.Decoder(Frame)
_envelopes = msgspec.json.Decoder(Envelope)


def frame_of(text: str | bytes) -> Frame:
    """Decode a WebSocket message. Raises msgspec.DecodeError for what is no JSON object of this shape."""
    return _frames.decode(text)


def envelope_of(text: str | bytes) -> Envelope:
    """Decode a REST body. Raises msgspec.DecodeError when it is no Bybit envelope (a proxy's page, for one)."""
    return _envelopes.decode(text)


def decode(kind: type[T], raw: msgspec.Raw | bytes) -> T:
    """Decode a raw part (`Frame.data`, `Envelope.result`, `Page.rows`) as `kind`. Raises msgspec.DecodeError."""
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    return cast("T", decoder.decode(raw))


_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}
