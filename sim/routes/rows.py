"""Rows of orders, executions, positions and wallets exactly as Bybit v5 shows them (strings for numbers, ms for times)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from libs.common.values import SPOT, UNITS_PER_COIN, category_of
from sim.engine.account import Account
from sim.engine.instruments import RATE_SCALE, Instrument, amount_text
from sim.engine.liquidation import liquidation_ticks, rank
from sim.engine.margin import Margin, locked_of, margin_of, position_margin, worth
from sim.engine.market import NS_PER_MS, Market
from sim.engine.orders import Entry, Fill, Order, Position

SIDES = {1: "Buy", -1: "Sell", 0: ""}
Row = dict[str, Any]


def ms_text(at: int) -> str:
    return str(at // NS_PER_MS)


def rate_text(rate_e8: int) -> str:
    return amount_text(rate_e8)


def order_row(order: Order, instrument: Instrument) -> Row:
    """A row of /v5/order/realtime and /v5/order/history."""
    price, qty = instrument.plain_price, instrument.plain_qty
    leaves, spot = order.leaves, order.spot
    coin = instrument.base_coin if spot and order.side > 0 else "USDT"
    by_value = amount_text(order.budget) if order.budget else ""
    return {
        "orderId": order.order_id,
        "orderLinkId": order.link_id,
        "blockTradeId": "",
        "symbol": instrument.name,
        "price": price(order.ticks),
        "qty": by_value or qty(order.lots),
        "side": SIDES[order.side],
        "isLeverage": "0" if spot else "",
        "positionIdx": order.idx,
        "orderStatus": order.status,
        "createType": order.create_type,
        "cancelType": order.cancel_type,
        "rejectReason": order.reject_reason,
        "avgPrice": instrument.average_text(order.cum_value, order.cum_lots),
        "leavesQty": qty(leaves),
        "leavesValue": amount_text(leaves * order.ticks * instrument.units),
        "cumExecQty": qty(order.cum_lots),
        "cumExecValue": amount_text(order.cum_value),
        "cumExecFee": amount_text(order.cum_fee),
        "cumFeeDetail": {coin: amount_text(order.cum_fee)} if order.cum_lots else {},
        "timeInForce": order.tif,
        "orderType": order.kind,
        "stopOrderType": order.stop_type,
        "orderIv": "",
        "triggerPrice": price(order.trigger_ticks) if order.trigger_ticks else "",
        "takeProfit": price(order.take_profit) if order.take_profit else "",
        "stopLoss": price(order.stop_loss) if order.stop_loss else "",
        "tpslMode": "Full" if order.stop_loss or order.take_profit or order.stop_type else "",
        "tpLimitPrice": "0",
        "slLimitPrice": "0",
        "tpTriggerBy": order.profit_by if order.take_profit else "",
        "slTriggerBy": order.stop_by if order.stop_loss else "",
        "triggerDirection": order.trigger_direction,
        "triggerBy": order.trigger_by,
        "lastPriceOnCreated": "" if spot else price(order.last_on_created),
        "reduceOnly": order.reduce_only,
        "closeOnTrigger": order.close_on_trigger,
        "smpType": order.smp,
        "smpGroup": 0,
        "smpOrderId": "",
        "placeType": "",
        "marketUnit": _market_unit(order),
        "slippageToleranceType": "UNKNOWN",
        "slippageTolerance": "0",
        "extraFees": "",
        "rpiTakerAccess": False,
        "rpiMatchedQty": "0",
        "createdTime": ms_text(order.created_at),
        "updatedTime": ms_text(order.updated_at),
    }


def _market_unit(order: Order) -> str:
    if not order.spot or order.kind != "Market":
        return ""
    return "quoteCoin" if order.budget else "baseCoin"


def order_frame_row(order: Order, instrument: Instrument) -> Row:
    """The row of the private `order` stream: the REST row and what only the stream tells."""
    row = order_row(order, instrument)
    row["category"] = instrument.category
    row["closedPnl"] = amount_text(order.closed_pnl)
    row["feeCurrency"] = ""
    row["parentOrderLinkId"] = order.parent_link_id
    return row


def execution_row(fill: Fill, instrument: Instrument) -> Row:
    """A row of /v5/execution/list."""
    price, qty, spot = instrument.plain_price, instrument.plain_qty, instrument.category == SPOT
    return {
        "symbol": instrument.name,
        "orderType": fill.kind,
        "underlyingPrice": "",
        "orderLinkId": fill.link_id,
        "orderId": fill.order_id,
        "stopOrderType": fill.stop_type or ("" if spot else "UNKNOWN"),
        "execTime": ms_text(fill.at),
        "feeCurrency": fill.fee_coin if spot else "",
        "createType": fill.create_type,
        "feeRate": rate_text(fill.fee_rate_e8),
        "tradeIv": "",
        "blockTradeId": "",
        "markPrice": "" if spot else price(fill.mark_ticks),
        "execPrice": price(fill.ticks),
        "markIv": "",
        "orderQty": qty(fill.order_lots),
        "orderPrice": price(fill.order_ticks),
        "execValue": amount_text(fill.value),
        "closedSize": "" if spot else qty(fill.closed_lots),
        "execType": fill.exec_type,
        "seq": fill.number,
        "side": SIDES[fill.side],
        "indexPrice": "",
        "leavesQty": qty(fill.leaves),
        "isMaker": fill.is_maker,
        "execFee": amount_text(fill.fee),
        "execId": fill.exec_id,
        "marketUnit": "",
        "execQty": qty(fill.lots),
        "extraFees": "",
    }


def execution_frame_row(fill: Fill, instrument: Instrument) -> Row:
    """The row of the private `execution` stream."""
    row = execution_row(fill, instrument)
    row["category"] = instrument.category
    row["isLeverage"] = "0"
    row["execPnl"] = amount_text(fill.pnl)
    row["feeCurrency"] = fill.fee_coin
    row["extraFees"] = []
    return row


def fast_execution_row(fill: Fill, instrument: Instrument) -> Row:
    """The row of `execution.fast`: a maker's orderLinkId is never shown there."""
    return {
        "category": instrument.category,
        "symbol": instrument.name,
        "execId": fill.exec_id,
        "execPrice": instrument.plain_price(fill.ticks),
        "execQty": instrument.plain_qty(fill.lots),
        "orderId": fill.order_id,
        "isMaker": fill.is_maker,
        "orderLinkId": "" if fill.is_maker else fill.link_id,
        "side": SIDES[fill.side],
        "execTime": ms_text(fill.at),
        "seq": fill.number,
    }


def position_row(position: Position, markets: Mapping[str, Market], account: Account) -> Row:
    """A row of /v5/position/list."""
    market = markets[position.symbol]
    instrument, mark, lots = market.instrument, market.mark, abs(position.lots)
    value = lots * mark * instrument.units
    own = position_margin(position, market, account.taker_e8, account.isolated)
    tier = market.tiers.of(value)
    return {
        "symbol": position.symbol,
        "leverage": _plain(Decimal(position.leverage_e2) / 100),
        "autoAddMargin": 0,
        "avgPrice": instrument.average_text(position.cost, lots) or "0",
        "liqPrice": _liquidation_price(position, markets, account),
        "riskLimitValue": str(tier.limit // UNITS_PER_COIN),
        "takeProfit": instrument.plain_price(position.take_profit) if position.take_profit else "",
        "positionValue": amount_text(value) if lots else "",
        "isReduceOnly": False,
        "tpslMode": "Full",
        "riskId": tier.number,
        "trailingStop": instrument.plain_price(position.trailing) if position.trailing else "0",
        "unrealisedPnl": amount_text(own.unrealised) if lots else "",
        "markPrice": instrument.plain_price(mark),
        "adlRankIndicator": rank(position, market),
        "cumRealisedPnl": amount_text(position.realised),
        "curRealisedPnl": amount_text(position.realised_current),
        "positionMM": amount_text(own.maintenance),
        "positionMMByMp": "",
        "createdTime": ms_text(position.created_at),
        "positionIdx": position.idx,
        "positionIM": amount_text(own.initial),
        "positionIMByMp": "",
        "seq": position.seq,
        "updatedTime": ms_text(position.updated_at),
        "side": SIDES[position.side],
        "bustPrice": "",
        "positionBalance": amount_text(own.initial),
        "breakEvenPrice": "",
        "leverageSysUpdatedTime": "",
        "size": instrument.plain_qty(lots),
        "positionStatus": "Normal",
        "mmrSysUpdatedTime": "",
        "stopLoss": instrument.plain_price(position.stop_loss) if position.stop_loss else "",
        "tradeMode": int(account.isolated),
        "sessionAvgPrice": "",
        "openTime": 0,
    }


def _liquidation_price(position: Position, markets: Mapping[str, Market], account: Account) -> str:
    """Where it would be liquidated: isolated exactly, cross as things are now and if nothing else moved."""
    market = markets[position.symbol]
    if not position.lots or not market.mark:
        return ""
    units = market.instrument.units
    ticks = liquidation_ticks(position, markets, account)
    return (
        market.instrument.plain_price(ticks) if 0 < ticks < 10 * position.cost // (abs(position.lots) * units) else ""
    )


def position_frame_row(position: Position, markets: Mapping[str, Market], account: Account) -> Row:
    """The row of the private `position` stream: the entry price is called entryPrice there."""
    row = position_row(position, markets, account)
    row["entryPrice"] = row.pop("avgPrice")
    row["category"] = "linear"
    for name in ("positionValue", "unrealisedPnl", "takeProfit", "stopLoss", "sessionAvgPrice"):
        row[name] = row[name] or "0"
    return row


def wallet_row(account: Account, markets: Mapping[str, Market]) -> Row:
    """list[0] of /v5/account/wallet-balance and the row of the private `wallet` stream."""
    margin = margin_of(account, markets)
    balance = margin.balance or 1
    return {
        "accountType": "UNIFIED",
        "accountLTV": "0",
        "accountIMRate": _ratio(margin.initial, balance),
        "accountIMRateByMp": "0",
        "accountMMRate": _ratio(margin.maintenance, balance),
        "accountMMRateByMp": "0",
        "totalEquity": amount_text(margin.equity),
        "totalWalletBalance": amount_text(margin.wallet + margin.coins),
        "totalMarginBalance": amount_text(margin.balance),
        "totalAvailableBalance": amount_text(margin.available),
        "totalPerpUPL": amount_text(margin.unrealised),
        "totalInitialMargin": amount_text(margin.initial),
        "totalInitialMarginByMp": "0",
        "totalMaintenanceMargin": amount_text(margin.maintenance),
        "totalMaintenanceMarginByMp": "0",
        "coin": _coin_rows(account, margin, markets),
    }


def _coin_rows(account: Account, margin: Margin, markets: Mapping[str, Market]) -> list[Row]:
    locked = locked_of(account, markets) if account.spot_orders else {}
    rows = [_coin_row(account, margin) | {"locked": amount_text(locked.get("USDT", 0))}]
    nothing = dict.fromkeys(
        ("totalOrderIM", "totalPositionIM", "totalPositionMM", "unrealisedPnl", "cumRealisedPnl"), "0"
    )
    for coin, amount in account.coins.items():
        held = amount_text(amount)
        own = {"coin": coin, "equity": held, "walletBalance": held, "usdValue": amount_text(worth(coin, amount, markets)),
               "locked": amount_text(locked.get(coin, 0))}  # fmt: skip
        rows.append(rows[0] | nothing | own)
    return rows


def _coin_row(account: Account, margin: Margin) -> Row:
    equity = amount_text(margin.wallet + margin.unrealised)
    return {
        "coin": "USDT",
        "equity": equity,
        "usdValue": equity,
        "walletBalance": amount_text(margin.wallet),
        "availableToWithdraw": "",
        "availableToBorrow": "",
        "borrowAmount": "0",
        "accruedInterest": "0",
        "totalOrderIM": amount_text(margin.orders),
        "totalPositionIM": amount_text(margin.initial - margin.orders),
        "totalPositionMM": amount_text(margin.maintenance),
        "unrealisedPnl": amount_text(margin.unrealised),
        "cumRealisedPnl": amount_text(account.wallet - account.opening),
        "bonus": "0",
        "collateralSwitch": True,
        "marginCollateral": True,
        "locked": "0",
        "spotHedgingQty": "0",
        "spotBorrow": "0",
    }


def entry_category(entry: Entry) -> str:
    """linear, spot, or nothing for a transfer."""
    return category_of(entry.symbol) if entry.symbol else ""


def entry_row(entry: Entry, markets: Mapping[str, Market]) -> Row:
    """A row of /v5/account/transaction-log."""
    market = markets.get(entry.symbol)
    name = market.instrument.name if market is not None else ""
    qty, price = ("0", "0") if market is None else (
        market.instrument.plain_qty(entry.lots), market.instrument.plain_price(entry.ticks))  # fmt: skip
    return {
        "transSubType": "",
        "id": f"{entry.number}_{name or entry.currency}",  # no account: its name is made anew by each run
        "symbol": name,
        "side": SIDES[entry.side],
        "funding": amount_text(entry.funding) if entry.kind == "SETTLEMENT" else "",
        "orderLinkId": entry.link_id,
        "orderId": entry.order_id,
        "fee": amount_text(entry.fee),
        "change": amount_text(entry.change),
        "cashFlow": amount_text(entry.cash_flow),
        "transactionTime": ms_text(entry.at),
        "type": entry.kind,
        "feeRate": rate_text(entry.fee_rate_e8),
        "bonusChange": "",
        "size": market.instrument.plain_qty(entry.position_lots) if market is not None else "0",
        "qty": qty,
        "cashBalance": amount_text(entry.balance),
        "currency": entry.currency,
        "category": entry_category(entry),
        "tradePrice": price,
        "tradeId": entry.trade_id,
        "extraFees": "",
    }


def closed_pnl_row(order: Order, instrument: Instrument, leverage_e2: int) -> Row:
    """A row of /v5/position/closed-pnl for an order that closed something."""
    price, qty = instrument.plain_price, instrument.plain_qty
    return {
        "symbol": order.symbol,
        "orderId": order.order_id,
        "orderType": order.kind,
        "side": SIDES[order.side],
        "qty": qty(order.lots),
        "orderPrice": price(order.ticks),
        "execType": "Trade",
        "closedSize": qty(order.closed_lots),
        "cumEntryValue": amount_text(order.entry_value),
        "avgEntryPrice": instrument.average_text(order.entry_value, order.closed_lots),
        "cumExitValue": amount_text(order.exit_value),
        "avgExitPrice": instrument.average_text(order.exit_value, order.closed_lots),
        "closedPnl": amount_text(order.closed_pnl),
        "fillCount": str(order.fills),
        "leverage": _plain(Decimal(leverage_e2) / 100),
        "openFee": amount_text(order.open_fee),
        "closeFee": amount_text(order.close_fee),
        "createdTime": ms_text(order.created_at),
        "updatedTime": ms_text(order.updated_at),
    }


def _ratio(part: int, whole: int) -> str:
    return amount_text(part * RATE_SCALE // max(1, whole)) if part else "0"


def _plain(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
