"""What the rows of Bybit v5 look like: names, and for each the kind of its value.

A shape is a dict (an object), a list with one shape (a list of such), or a rule (a value). The same shapes are held
against recorded payloads and against the simulator's: what the exchange was seen to send must fit, or the shape is wrong;
then what the simulator sends must fit, too, with nothing left out that a recorded one of today has.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Rule = Callable[[Any], bool]
Shape = Any


def _text(pattern: str) -> Rule:
    compiled = re.compile(pattern)
    return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None


DECIMAL = r"-?\d+(\.\d+)?"
TEXT = _text(".*")
NAME = _text(".+")
NUMBER = _text(DECIMAL)
MAYBE = _text(f"({DECIMAL})?")
"""A number as text, or nothing."""
MS = _text(r"\d{13}")
MAYBE_MS = _text(r"(\d{13}|0)?")
SECONDS, NANOS = _text(r"\d{10}"), _text(r"\d{19}")
ORDER_ID = _text(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{15,20}")
STAMP: Rule = lambda value: type(value) is int and 10**12 <= value < 10**13  # noqa: E731
INT: Rule = lambda value: type(value) is int  # noqa: E731
FLAG: Rule = lambda value: type(value) is bool  # noqa: E731
ANY: Rule = lambda value: True  # noqa: E731


def one_of(*values: Any) -> Rule:
    return lambda value: value in values and type(value) is type(values[0])


class Later:
    """Of a name that older recordings do not have: the simulator must."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape


class Gone:
    """Of a name only some rows have, or that the exchange no longer sends: nobody must."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape


def faults(shape: Shape, value: Any, *, recorded: bool, where: str = "") -> list[str]:
    """Where the value does not fit; empty when it does."""
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return [f"{where}: an object is expected, was {value!r}"]
        found: list[str] = []
        for name, part in shape.items():
            inner, wanted = (part.shape, part) if isinstance(part, Later | Gone) else (part, None)
            if name in value:
                found += faults(inner, value[name], recorded=recorded, where=f"{where}.{name}")
            elif not isinstance(wanted, Gone) and not (recorded and isinstance(wanted, Later)):
                found.append(f"{where}.{name}: is missing")
        return found
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [f"{where}: a list is expected, was {value!r}"]
        return [
            fault
            for place, item in enumerate(value)
            for fault in faults(shape[0], item, recorded=recorded, where=f"{where}[{place}]")
        ]
    return [] if shape(value) else [f"{where}: was {value!r}"]


def names(shape: dict[str, Shape]) -> set[str]:
    return set(shape)


# --- words ------------------------------------------------------------------------------------------------------------

SIDE, HELD_SIDE = one_of("Buy", "Sell"), one_of("Buy", "Sell", "")
CATEGORY = one_of("linear", "spot", "inverse", "option")
ORDER_TYPE, TIF = one_of("Limit", "Market", "UNKNOWN"), one_of("GTC", "IOC", "FOK", "PostOnly", "RPI")
STATUS = one_of(
    "New", "PartiallyFilled", "Untriggered", "Rejected", "PartiallyFilledCanceled", "Filled", "Cancelled", "Triggered",
    "Deactivated",
)  # fmt: skip
STOP_TYPE = one_of(
    "", "UNKNOWN", "TakeProfit", "StopLoss", "TrailingStop", "Stop", "PartialTakeProfit", "PartialStopLoss", "tpslOrder",
    "OcoOrder", "MmRateClose", "BidirectionalTpslOrder",
)  # fmt: skip
TRIGGER_BY = one_of("", "UNKNOWN", "LastPrice", "IndexPrice", "MarkPrice")
EXEC_TYPE = one_of(
    "Trade", "AdlTrade", "Funding", "BustTrade", "Delivery", "Settle", "BlockTrade", "MovePosition", "FutureSpread",
    "UNKNOWN",
)  # fmt: skip
CREATE_TYPE = _text(r"|CreateBy\w+")
CANCEL_TYPE = _text(r"UNKNOWN|Cancel\w+")
REJECT_REASON = _text(r"EC_\w+")
SMP = one_of("None", "CancelMaker", "CancelTaker", "CancelBoth")
TPSL_MODE = one_of("", "Full", "Partial", "UNKNOWN")

# --- REST -------------------------------------------------------------------------------------------------------------


def page(row: Shape) -> dict[str, Shape]:
    return {"nextPageCursor": Gone(TEXT), "category": Gone(CATEGORY), "list": [row]}


ENVELOPE = {"retCode": INT, "retMsg": TEXT, "result": ANY, "retExtInfo": ANY, "time": STAMP}
ORDER = {
    "orderId": ORDER_ID, "orderLinkId": TEXT, "blockTradeId": Later(TEXT), "symbol": NAME, "price": NUMBER, "qty": NUMBER,
    "side": SIDE, "isLeverage": Later(one_of("", "0", "1")), "positionIdx": one_of(0, 1, 2), "orderStatus": STATUS,
    "createType": Later(CREATE_TYPE), "cancelType": CANCEL_TYPE, "rejectReason": REJECT_REASON, "avgPrice": MAYBE,
    "leavesQty": MAYBE, "leavesValue": MAYBE, "cumExecQty": NUMBER, "cumExecValue": NUMBER, "cumExecFee": NUMBER,
    "cumFeeDetail": Later(lambda value: isinstance(value, dict) and all(map(NUMBER, value.values()))), "timeInForce": TIF,
    "orderType": ORDER_TYPE, "stopOrderType": STOP_TYPE, "orderIv": TEXT, "triggerPrice": MAYBE, "takeProfit": MAYBE,
    "stopLoss": MAYBE, "tpslMode": Later(TPSL_MODE), "tpLimitPrice": Later(MAYBE), "slLimitPrice": Later(MAYBE),
    "tpTriggerBy": TRIGGER_BY, "slTriggerBy": TRIGGER_BY, "triggerDirection": one_of(0, 1, 2), "triggerBy": TRIGGER_BY,
    "lastPriceOnCreated": MAYBE, "reduceOnly": FLAG, "closeOnTrigger": FLAG, "smpType": Later(SMP), "smpGroup": Later(INT),
    "smpOrderId": Later(TEXT), "placeType": Later(TEXT), "marketUnit": Later(one_of("", "baseCoin", "quoteCoin")),
    "createdTime": MS, "updatedTime": MS,
}  # fmt: skip
EXECUTION = {
    "symbol": NAME, "orderType": ORDER_TYPE, "underlyingPrice": TEXT, "orderLinkId": TEXT, "orderId": ORDER_ID,
    "stopOrderType": STOP_TYPE, "execTime": MS, "feeCurrency": Later(TEXT), "createType": Later(CREATE_TYPE),
    "feeRate": NUMBER, "tradeIv": TEXT, "blockTradeId": TEXT, "markPrice": MAYBE, "execPrice": NUMBER, "markIv": TEXT,
    "orderQty": NUMBER, "orderPrice": NUMBER, "execValue": NUMBER, "closedSize": MAYBE, "execType": EXEC_TYPE, "seq": INT,
    "side": SIDE, "indexPrice": TEXT, "leavesQty": NUMBER, "isMaker": FLAG, "execFee": NUMBER, "execId": NAME,
    "marketUnit": Later(TEXT), "execQty": NUMBER, "extraFees": Later(ANY),
}  # fmt: skip
POSITION = {
    "symbol": NAME, "leverage": MAYBE, "autoAddMargin": one_of(0, 1), "liqPrice": MAYBE, "riskLimitValue": MAYBE,
    "takeProfit": MAYBE, "positionValue": MAYBE, "isReduceOnly": FLAG, "tpslMode": one_of("Full"), "riskId": INT,
    "trailingStop": NUMBER, "unrealisedPnl": MAYBE, "markPrice": NUMBER, "adlRankIndicator": one_of(0, 1, 2, 3, 4, 5),
    "cumRealisedPnl": NUMBER, "curRealisedPnl": Later(NUMBER), "positionMM": MAYBE, "positionMMByMp": Later(MAYBE),
    "createdTime": MS, "positionIdx": one_of(0, 1, 2), "positionIM": MAYBE, "positionIMByMp": Later(MAYBE), "seq": INT,
    "updatedTime": MAYBE_MS, "side": HELD_SIDE, "bustPrice": MAYBE, "positionBalance": MAYBE,
    "breakEvenPrice": Later(MAYBE), "leverageSysUpdatedTime": Later(TEXT), "size": NUMBER,
    "positionStatus": one_of("Normal", "Liq", "Adl"), "mmrSysUpdatedTime": Later(TEXT), "stopLoss": MAYBE,
    "tradeMode": one_of(0, 1), "sessionAvgPrice": Later(MAYBE),
}  # fmt: skip
CLOSED_PNL = {
    "symbol": NAME, "orderId": ORDER_ID, "side": SIDE, "qty": NUMBER, "orderPrice": NUMBER, "orderType": ORDER_TYPE,
    "execType": EXEC_TYPE, "closedSize": NUMBER, "cumEntryValue": NUMBER, "avgEntryPrice": NUMBER, "cumExitValue": NUMBER,
    "avgExitPrice": NUMBER, "closedPnl": NUMBER, "fillCount": NUMBER, "leverage": NUMBER, "openFee": Later(NUMBER),
    "closeFee": Later(NUMBER), "createdTime": MS, "updatedTime": MS,
}  # fmt: skip
COIN = {
    "coin": NAME, "equity": NUMBER, "usdValue": NUMBER, "walletBalance": NUMBER, "availableToWithdraw": MAYBE,
    "availableToBorrow": MAYBE, "borrowAmount": NUMBER, "accruedInterest": NUMBER, "totalOrderIM": MAYBE,
    "totalPositionIM": MAYBE, "totalPositionMM": MAYBE, "unrealisedPnl": NUMBER, "cumRealisedPnl": NUMBER, "bonus": NUMBER,
    "collateralSwitch": FLAG, "marginCollateral": FLAG, "locked": NUMBER, "spotHedgingQty": NUMBER,
    "spotBorrow": Later(NUMBER),
}  # fmt: skip
WALLET = {
    "accountType": one_of("UNIFIED"), "accountLTV": NUMBER, "accountIMRate": MAYBE, "accountIMRateByMp": MAYBE,
    "accountMMRate": MAYBE, "accountMMRateByMp": MAYBE, "totalEquity": NUMBER, "totalWalletBalance": NUMBER,
    "totalMarginBalance": MAYBE, "totalAvailableBalance": MAYBE, "totalPerpUPL": NUMBER, "totalInitialMargin": MAYBE,
    "totalInitialMarginByMp": MAYBE, "totalMaintenanceMargin": MAYBE, "totalMaintenanceMarginByMp": MAYBE, "coin": [COIN],
}  # fmt: skip
ENTRY = {
    "symbol": TEXT, "side": one_of("Buy", "Sell", "None", ""), "funding": MAYBE, "orderLinkId": TEXT, "orderId": TEXT,
    "fee": NUMBER, "change": NUMBER, "cashFlow": NUMBER, "transactionTime": MS, "type": _text("[A-Z_]+"), "feeRate": MAYBE,
    "bonusChange": MAYBE, "size": NUMBER, "qty": NUMBER, "cashBalance": NUMBER, "currency": NAME, "id": NAME,
    "category": TEXT, "tradePrice": MAYBE, "tradeId": TEXT, "transSubType": Later(TEXT), "extraFees": Later(ANY),
}  # fmt: skip
FEE_RATE = {"symbol": TEXT, "takerFeeRate": NUMBER, "makerFeeRate": NUMBER}
ACCOUNT_INFO = {
    "marginMode": one_of("ISOLATED_MARGIN", "REGULAR_MARGIN", "PORTFOLIO_MARGIN"), "updatedTime": MS,
    "unifiedMarginStatus": one_of(1, 3, 4, 5, 6), "dcpStatus": one_of("ON", "OFF"), "timeWindow": INT, "smpGroup": INT,
    "isMasterTrader": FLAG, "spotHedgingStatus": one_of("ON", "OFF"),
}  # fmt: skip
DCP_INFO = {
    "dcpInfos": [
        {"product": one_of("SPOT", "DERIVATIVES", "OPTIONS"), "dcpStatus": one_of("ON", "OFF"), "timeWindow": NUMBER}
    ]
}
COIN_INFO = {
    "rows": [{
        "name": NAME, "coin": NAME, "remainAmount": NUMBER, "chains": [{
            "chainType": NAME, "confirmation": NUMBER, "withdrawFee": MAYBE, "depositMin": NUMBER, "withdrawMin": NUMBER,
            "chain": NAME, "chainDeposit": one_of("0", "1"), "chainWithdraw": one_of("0", "1"), "minAccuracy": NUMBER,
            "withdrawPercentageFee": NUMBER, "contractAddress": TEXT, "safeConfirmNumber": NUMBER, "withdrawMax": NUMBER,
        }],
    }]
}  # fmt: skip
WORDS: Rule = lambda value: isinstance(value, list) and all(isinstance(word, str) for word in value)  # noqa: E731
KEY_INFO = {
    "id": NUMBER, "note": TEXT, "apiKey": NAME, "readOnly": one_of(0, 1), "secret": one_of(""),
    "permissions": dict.fromkeys(
        ("ContractTrade", "Spot", "Wallet", "Options", "Derivatives", "CopyTrading", "BlockTrade", "Exchange", "NFT"), WORDS
    ),
    "ips": WORDS, "type": one_of(1, 2), "deadlineDay": INT, "expiredAt": _text(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"),
    "createdAt": _text(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "unified": INT, "uta": one_of(0, 1), "userID": INT,
    "inviterID": INT, "vipLevel": NAME, "mktMakerLevel": TEXT, "affiliateID": INT, "rsaPublicKey": Later(TEXT),
    "isMaster": Later(FLAG), "parentUid": Later(NUMBER), "kycLevel": Later(TEXT), "kycRegion": Later(TEXT),
}  # fmt: skip
ORDER_ACK = {"orderId": ORDER_ID, "orderLinkId": TEXT}
BATCH_ACK = {
    "list": [{"category": CATEGORY, "symbol": TEXT, "orderId": TEXT, "orderLinkId": TEXT, "createAt": Gone(TEXT)}]
}
PRE_CHECK = {"orderId": NAME, "orderLinkId": TEXT, "preImrE4": INT, "preMmrE4": INT, "postImrE4": INT, "postMmrE4": INT}
CANCEL_ALL = {"list": [ORDER_ACK], "success": Later(one_of("1", "0"))}

TIME = {"timeSecond": SECONDS, "timeNano": NANOS}
TICKER = {
    "symbol": NAME, "lastPrice": NUMBER, "indexPrice": NUMBER, "markPrice": NUMBER, "prevPrice24h": NUMBER,
    "price24hPcnt": NUMBER, "highPrice24h": NUMBER, "lowPrice24h": NUMBER, "prevPrice1h": NUMBER, "openInterest": NUMBER,
    "openInterestValue": NUMBER, "turnover24h": NUMBER, "volume24h": NUMBER, "fundingRate": NUMBER, "nextFundingTime": MS,
    "predictedDeliveryPrice": TEXT, "basisRate": TEXT, "deliveryFeeRate": TEXT, "deliveryTime": NUMBER,
    "ask1Size": NUMBER, "bid1Price": NUMBER, "ask1Price": NUMBER, "bid1Size": NUMBER, "basis": TEXT, "preOpenPrice": TEXT,
    "preQty": TEXT, "curPreListingPhase": TEXT, "fundingIntervalHour": Later(NUMBER), "fundingCap": Later(NUMBER),
}  # fmt: skip
SPOT_TICKER = {
    "symbol": NAME, "bid1Price": NUMBER, "bid1Size": NUMBER, "ask1Price": NUMBER, "ask1Size": NUMBER, "lastPrice": NUMBER,
    "prevPrice24h": NUMBER, "price24hPcnt": NUMBER, "highPrice24h": NUMBER, "lowPrice24h": NUMBER, "turnover24h": NUMBER,
    "volume24h": NUMBER, "usdIndexPrice": MAYBE,
}  # fmt: skip
INSTRUMENT = {
    "symbol": NAME, "symbolId": Later(INT), "contractType": one_of("LinearPerpetual", "LinearFutures"),
    "status": one_of("PreLaunch", "Trading", "Delivering", "Closed"), "baseCoin": NAME, "quoteCoin": NAME,
    "launchTime": MS, "deliveryTime": MAYBE_MS, "deliveryFeeRate": MAYBE, "priceScale": NUMBER,
    "leverageFilter": {"minLeverage": NUMBER, "maxLeverage": NUMBER, "leverageStep": NUMBER},
    "priceFilter": {"minPrice": NUMBER, "maxPrice": NUMBER, "tickSize": NUMBER},
    "lotSizeFilter": {"maxOrderQty": NUMBER, "minOrderQty": NUMBER, "qtyStep": NUMBER, "postOnlyMaxOrderQty": NUMBER,
                      "maxMktOrderQty": Later(NUMBER), "minNotionalValue": Later(NUMBER)},
    "unifiedMarginTrade": FLAG, "fundingInterval": INT, "settleCoin": NAME,
    "copyTrading": one_of("none", "both", "utaOnly", "normalOnly"), "upperFundingRate": NUMBER, "lowerFundingRate": NUMBER,
    "isPreListing": Later(FLAG), "preListingInfo": Later(ANY), "symbolType": Later(TEXT),
    "riskParameters": Later({"priceLimitRatioX": NUMBER, "priceLimitRatioY": NUMBER}),
}  # fmt: skip
SPOT_INSTRUMENT = {
    "symbol": NAME, "symbolId": Later(INT), "baseCoin": NAME, "quoteCoin": NAME, "innovation": one_of("0", "1"),
    "status": one_of("Trading"), "marginTrading": one_of("none", "both", "utaOnly", "normalSpotOnly"),
    "stTag": Later(one_of("0", "1")), "priceFilter": {"tickSize": NUMBER},
    "lotSizeFilter": {"basePrecision": NUMBER, "quotePrecision": NUMBER, "minOrderQty": NUMBER, "maxOrderQty": NUMBER,
                      "minOrderAmt": NUMBER, "maxOrderAmt": NUMBER, "maxLimitOrderQty": Later(NUMBER),
                      "maxMarketOrderQty": Later(NUMBER), "postOnlyMaxLimitOrderSize": Later(NUMBER)},
    "riskParameters": {"priceLimitRatioX": NUMBER, "priceLimitRatioY": NUMBER},
}  # fmt: skip
LEVEL = [NUMBER]
BOOK = {"s": NAME, "b": [LEVEL], "a": [LEVEL], "u": INT, "seq": INT}
REST_BOOK = {**BOOK, "ts": STAMP, "cts": Later(STAMP)}
RECENT_TRADE = {
    "execId": NAME, "symbol": NAME, "price": NUMBER, "size": NUMBER, "side": SIDE, "time": MS, "isBlockTrade": FLAG,
    "isRPITrade": Later(FLAG), "seq": Later(NUMBER),
}  # fmt: skip
FUNDING = {"symbol": NAME, "fundingRate": NUMBER, "fundingRateTimestamp": MS}
RISK_LIMIT = {
    "id": INT, "symbol": NAME, "riskLimitValue": NUMBER, "maintenanceMargin": NUMBER, "initialMargin": NUMBER,
    "isLowestRisk": one_of(0, 1), "maxLeverage": NUMBER, "mmDeduction": MAYBE,
}  # fmt: skip
PRICE_LIMIT = {"symbol": NAME, "buyLmt": NUMBER, "sellLmt": NUMBER}
OPEN_INTEREST = {"openInterest": NUMBER, "singleOpenInterest": Later(NUMBER), "timestamp": MS}
SYSTEM_STATUS = {
    "id": NAME, "title": TEXT, "state": one_of("scheduled", "ongoing", "completed", "canceled"), "begin": MS, "end": MS,
    "href": TEXT, "serviceTypes": [INT], "product": [INT], "uidSuffix": [INT], "maintainType": one_of(1, 2, 3),
    "env": one_of(1, 2),
}  # fmt: skip

# --- WebSocket --------------------------------------------------------------------------------------------------------


def public(data: Shape, **more: Shape) -> dict[str, Shape]:
    return {"topic": NAME, "type": one_of("snapshot", "delta"), "ts": STAMP, "data": data, **more}


def private(row: Shape) -> dict[str, Shape]:
    return {"id": NAME, "topic": NAME, "creationTime": STAMP, "data": [row]}


BOOK_FRAME = public(BOOK, cts=Later(STAMP))
TRADE_FRAME = public(
    [{"T": STAMP, "s": NAME, "S": SIDE, "v": NUMBER, "p": NUMBER, "L": Gone(NAME), "i": NAME, "BT": FLAG,
      "RPI": Later(FLAG), "seq": INT}]
)  # fmt: skip
TICKER_SNAPSHOT = public(
    {name: rule for name, rule in TICKER.items()
     if name not in ("predictedDeliveryPrice", "basisRate", "deliveryFeeRate", "deliveryTime", "basis")},
    cs=INT,
)  # fmt: skip
SPOT_TICKER_FRAME = public(
    {name: rule for name, rule in SPOT_TICKER.items() if not name.startswith(("bid1", "ask1"))}, cs=INT
)
KLINE_FRAME = public(
    [{"start": STAMP, "end": STAMP, "interval": NAME, "open": NUMBER, "close": NUMBER, "high": NUMBER, "low": NUMBER,
      "volume": NUMBER, "turnover": NUMBER, "confirm": FLAG, "timestamp": STAMP}]
)  # fmt: skip
LIQUIDATION_FRAME = public([{"T": STAMP, "s": NAME, "S": SIDE, "v": NUMBER, "p": NUMBER}])
PRICE_LIMIT_FRAME = {"topic": NAME, "ts": STAMP, "data": PRICE_LIMIT}
STATUS_FRAME = {"topic": one_of("system.status"), "ts": STAMP, "data": [SYSTEM_STATUS]}

ORDER_FRAME = private(
    {**{name: rule for name, rule in ORDER.items() if name != "isLeverage"}, "category": CATEGORY,
     "closedPnl": Later(NUMBER), "feeCurrency": Later(TEXT), "parentOrderLinkId": Later(TEXT)}
)  # fmt: skip
EXECUTION_FRAME = private(
    {**EXECUTION, "category": CATEGORY, "isLeverage": one_of("", "0", "1"), "execPnl": Later(NUMBER),
     "extraFees": lambda value: isinstance(value, list)}
)  # fmt: skip
FAST_FRAME = {
    "topic": NAME, "creationTime": STAMP, "data": [{
        "category": CATEGORY, "symbol": NAME, "execId": NAME, "execPrice": NUMBER, "execQty": NUMBER, "orderId": ORDER_ID,
        "isMaker": FLAG, "orderLinkId": TEXT, "side": SIDE, "execTime": MS, "seq": INT,
    }],
}  # fmt: skip
POSITION_FRAME = private(
    {**{n: r for n, r in POSITION.items() if n != "avgPrice"}, "entryPrice": NUMBER, "category": CATEGORY,
     "positionValue": NUMBER, "unrealisedPnl": NUMBER, "takeProfit": NUMBER, "stopLoss": NUMBER, "sessionAvgPrice": NUMBER}
)  # fmt: skip
WALLET_FRAME = private(WALLET)

ACK = {"success": FLAG, "ret_msg": TEXT, "conn_id": NAME, "op": one_of("subscribe", "unsubscribe", "auth")}
PUBLIC_ACK = {**ACK, "req_id": TEXT}
PUBLIC_PONG = {"success": FLAG, "ret_msg": one_of("pong"), "conn_id": NAME, "op": one_of("ping")}
PRIVATE_PONG = {"req_id": TEXT, "op": one_of("pong"), "args": [MS], "conn_id": NAME}
TRADE_PONG = {"retCode": INT, "retMsg": TEXT, "op": one_of("pong"), "data": [MS], "connId": NAME}
TRADE_AUTH = {"retCode": INT, "retMsg": TEXT, "op": one_of("auth"), "connId": NAME}
TRADE_ANSWER = {
    "reqId": NAME, "retCode": INT, "retMsg": TEXT, "op": _text(r"order\.\w+(-batch)?"), "data": ANY, "retExtInfo": ANY,
    "header": {"X-Bapi-Limit": NUMBER, "X-Bapi-Limit-Status": NUMBER, "X-Bapi-Limit-Reset-Timestamp": MS,
               "Traceid": _text("[0-9a-f]{32}"), "Timenow": MS},
    "connId": NAME,
}  # fmt: skip
