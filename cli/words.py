"""One line about any event, for people."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from cli.follow import headline, short
from cli.output import decimal_text
from libs.common.events import (
    Bar,
    CancelIntent,
    Fill,
    Instant,
    OrderAccepted,
    OrderCancelled,
    OrderIntent,
    OrderRefused,
    OrderRejected,
    OrderResolved,
    OrderSubmitted,
    PortfolioMarked,
    Signal,
    Tick,
)
from libs.common.record import Record

_MOST_FIELDS = 5


def words(record: Record) -> str:
    """What happened, without its envelope."""
    return headline(record) or _market(record) or _order(record) or _anything(record)


def _market(record: Record) -> str:
    match record.body:
        case Tick(symbol=symbol, last=last, bids=bids, asks=asks):
            book = f" {_n(bids[0][0])} / {_n(asks[0][0])}" if bids and asks else ""
            return f"{symbol} {_n(last)}{book}"
        case Bar(symbol=symbol, interval_ms=interval_ms, close=close, volume=volume):
            return f"{symbol} {interval_ms // 60_000}m close {_n(close)} volume {_n(volume)}"
        case Instant(number=number):
            return f"instant {number}"
        case Signal(strategy=strategy, symbol=symbol, target=target, p=p, payoff=payoff, score=score):
            return f"{strategy} {symbol} target {target:+} p {_n(p)} payoff {_n(payoff)} score {_n(score)}"
        case PortfolioMarked(equity=equity, drawdown=drawdown, mode=mode):
            return f"equity {equity:,.2f} drawdown {drawdown * 100:.2f} % {mode}"
    return ""


def _order(record: Record) -> str:
    match record.body:
        case OrderIntent(side=side, qty=qty, symbol=symbol, price=price, purpose=purpose, limits=limits):
            used = [(use.measured / use.limit, use) for use in limits if use.limit and use.name.islower()]  # caps only
            tightest = max(used, key=lambda pair: pair[0], default=None)
            tail = f" · tightest {tightest[1].name} {tightest[0] * 100:.0f} %" if tightest else ""
            return f"approved {purpose} {side} {_n(qty)} {symbol} @ {_n(price)}{tail}"
        case OrderRefused(
            strategy=strategy, symbol=symbol, reason=reason, measured=measured, limit=limit, detail=detail
        ):
            figures = f" {short(measured)} of {short(limit)}" if limit or measured else ""
            return f"refused {strategy} {symbol}: {reason}{figures}{f' ({detail})' if detail else ''}"
        case CancelIntent(order_link_id=link, symbol=symbol, reason=reason):
            return f"cancel {link or symbol or 'every entry'} {reason}"
        case OrderSubmitted(side=side, qty=qty, symbol=symbol, price=price):
            return f"submitted {side} {_n(qty)} {symbol} @ {_n(price)}"
        case OrderAccepted(ack_ms=ack_ms):
            return f"accepted after {ack_ms} ms"
        case OrderRejected(reason=reason, code=code):
            return f"rejected: {reason} ({code})"
        case OrderCancelled(cum_qty=filled, reason=reason):
            return f"cancelled with {_n(filled)} filled {reason}"
        case OrderResolved(outcome=outcome):
            return f"resolved: {outcome}"
        case Fill(side=side, qty=qty, symbol=symbol, price=price, fee=fee, is_maker=is_maker):
            return f"filled {side} {_n(qty)} {symbol} @ {_n(price)} {'maker' if is_maker else 'taker'} fee {_n(fee)}"
    return ""


def _anything(record: Record) -> str:
    plain = {
        key: value for key, value in msgspec.to_builtins(record.body).items() if value not in ("", 0, [], {}, None)
    }
    parts = [f"{key}={value if len(str(value)) <= 40 else str(value)[:37] + '...'}" for key, value in plain.items()]
    return " ".join(parts[:_MOST_FIELDS])


def _n(value: Decimal) -> str:
    return decimal_text(value)
