"""A model's card as text: what it was trained on, what it is worth fold by fold, and what follows from that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cli.candles import day_of
from services.signal.model import Card, edge

CAPTION = (
    "Log loss and Brier: lower is better; in brackets always saying the shares of the training data. Results: constant size, every "
    "entry, exit and stop charged with fee and slippage, funding for the time held. Deflated: probability that the true Sharpe ratio "
    "beats the luck of the trials."
)


def report(card: Card, model: str) -> str:
    """The whole report (Markdown). `model`: `name/sha256`."""
    return "\n".join(_lines(card, model)) + "\n"


def _lines(card: Card, model: str) -> Iterator[str]:
    costs, rules = card.costs, card.rules
    yield f"# {model}"
    yield ""
    yield f"{card.symbol}, {card.interval} candles of {day_of(card.trained_from_ms)} to {day_of(card.trained_until_ms)}, {card.bars:,} rows."
    yield f"{card.estimator} {_pairs(card.parameters)}, {card.calibration} calibration, seed {card.seed}."
    yield (
        f"Outcome of a trade: {rules.horizon_bars} candles ahead or a stop {rules.stop_atr:g} average true ranges away, after "
        f"{costs.fee:.3%} fee and {costs.slippage:.3%} slippage a side and {costs.funding:.3%} funding each 8 h."
    )
    yield _base_rates(card)
    yield ""
    yield "| test period | rows | log loss | Brier | trades | hit rate | mean trade | net return | net Sharpe | max drawdown | deflated |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for fold in card.metrics.get("folds", []):
        yield _row(fold)
    shown = card.metrics.get("shown")
    if shown:
        yield _row(shown, "**never seen** ")
    yield ""
    yield CAPTION
    yield ""
    yield from _verdict(card, shown)
    yield ""
    for name, value in card.hashes.items():
        yield f"- {name}: `{value}`"
    yield f"- {_pairs(card.versions)}"


def _base_rates(card: Card) -> str:
    total = max(1, sum(card.labels.values()))
    long, short = card.labels.get("1", 0) / total, card.labels.get("-1", 0) / total
    return (
        f"In training a long won in {long:.1%} of all candles (payoff {card.payoff_long:.2f}, so {edge(long, card.payoff_long):+.3f} average "
        f"losses a trade) and a short in {short:.1%} (payoff {card.payoff_short:.2f}, {edge(short, card.payoff_short):+.3f})."
    )


def _row(part: dict[str, Any], note: str = "") -> str:
    return (
        f"| {note}{day_of(part['from_ms'])} to {day_of(part['until_ms'])} | {part['rows']:,} "
        f"| {part['log_loss']:.4f} ({part['log_loss_base']:.4f}) | {part['brier']:.4f} ({part['brier_base']:.4f}) "
        f"| {part['trades']} | {part['hit_rate']:.1%} | {part['mean_trade']:+.3%} | {part['net_return']:+.1%} "
        f"| {part['net_sharpe']:+.2f} | {part['max_drawdown']:.1%} | {part['deflated']:.2f} |"
    )


def _verdict(card: Card, shown: dict[str, Any] | None) -> Iterator[str]:
    """Plain words, from the figures alone."""
    folds = card.metrics.get("folds", [])
    better = sum(fold["log_loss"] < fold["log_loss_base"] for fold in folds)
    winning = sum(fold["net_return"] > 0 for fold in folds)
    yield (
        f"Its probabilities were better than the base rates in {better} of {len(folds)} folds; trading them made money after costs in {winning}."
    )
    if shown is None:
        yield "Nothing was kept back to show it on: give `--until DATE` before the end of the data."
        return
    hold = shown["holding"]
    yield (
        f"In the period it never saw it {'made' if shown['net_return'] > 0 else 'lost'} {abs(shown['net_return']):.1%} of its position size after "
        f"costs in {shown['trades']} trades (holding: {hold['net_return']:+.1%})."
    )
    if shown["deflated"] < 0.95 or winning < len(folds):
        yield "**No edge is shown. It is an example of the form: do not give it capital.**"


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
