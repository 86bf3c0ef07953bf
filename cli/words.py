"""One line about any event, for people."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from cli.follow import headline, short
from cli.output import decimal_text, utc
from libs.common.events import (
    Bar,
    CancelIntent,
    CommandRefused,
    Event,
    Fill,
    Halted,
    Instant,
    LimitChanged,
    LooserLimitsIgnored,
    ModeChanged,
    ModelPromoted,
    ModelRefused,
    ModelRolledBack,
    OrderAccepted,
    OrderCancelled,
    OrderIntent,
    OrderRefused,
    OrderRejected,
    OrderResolved,
    OrderSubmitted,
    PortfolioMarked,
    Rebase,
    Resumed,
    Signal,
    StageChanged,
    Tick,
    UpgradeOpened,
)
from libs.common.record import Record

_MOST_FIELDS = 5


def words(record: Record) -> str:
    """What happened, without its envelope."""
    return headline(record) or _market(record) or _order(record) or outcome(record.body) or _anything(record)


def outcome(body: Event) -> str:
    """What came of a command, or of risk's own decision about the book; empty for anything else."""
    match body:
        case Halted(reason=reason, scope=scope, mode=mode):
            return f"{mode} {scope}: {reason}"
        case ModeChanged(scope=scope, new=new, reason=reason):
            return f"{scope} is {new}: {reason}"
        case Resumed(scope=scope, mode=mode, rebased=rebased, requested_by=first):
            return f"resumed {scope}, {mode}{_moves(rebased)}{f', requested by {first}' if first else ''}"
        case CommandRefused(reason=reason) | ModelRefused(reason=reason):
            return f"refused: {reason}"
        case LimitChanged(version=version, changed=changed, requested_by=first):
            return f"limits version {version}{_moves(changed)}{f', requested by {first}' if first else ''}"
        case LooserLimitsIgnored(ignored=ignored):
            return f"looser limits of the file ignored{_moves(ignored)}"
        case StageChanged(stage=stage, share=share):
            return f"stage {stage}, share {share}"
        case UpgradeOpened(until_at=until_at):
            return f"upgrade window until {utc(until_at)}"
        case ModelPromoted(strategy=strategy, model=model) | ModelRolledBack(strategy=strategy, model=model):
            return f"{strategy} serves {model}"
    return ""


def _moves(rebases: tuple[Rebase, ...]) -> str:
    return "".join(f", {move.name} {move.old:f} → {move.new:f}" for move in rebases)


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
