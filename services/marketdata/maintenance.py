"""When the exchange will be down, as far as it says so beforehand: asked for again and again, told once and when it changes.

An interruption of less than ten seconds is not announced by Bybit.
"""

from __future__ import annotations

import msgspec

from libs.common.events import MaintenancePlanned
from libs.common.values import LINEAR, SPOT, category_of
from services.marketdata.config import NS_PER_MS, MarketdataConfig
from services.marketdata.frames import StatusRow, status_result

PRODUCTS = {LINEAR: 1, SPOT: 2}
"""The venue's number of a category."""
OVER = ("canceled", "completed")


class Plans(msgspec.Struct):
    """`told`: what is published of each window that is not over, by its id; `ready`: to publish in this step."""

    told: dict[str, MaintenancePlanned] = {}
    ready: list[MaintenancePlanned] = []
    asked_at: int = 0


def is_due(plans: Plans, config: MarketdataConfig, now: int) -> bool:
    return now - plans.asked_at >= config.status_every_ms * NS_PER_MS


def learn(plans: Plans, config: MarketdataConfig, result: msgspec.Raw) -> None:
    """Take the rows of /v5/system/status that concern what we trade. Raises msgspec.DecodeError."""
    products = {PRODUCTS[category_of(symbol)] for symbol in config.symbols}
    for row in status_result(result).rows:
        known = plans.told.get(row.id)
        found = _planned(row)
        concerns = not row.products or products & set(row.products)
        if not concerns or found == known or (known is None and found.is_over):
            continue
        plans.ready.append(found)


def published(plans: Plans, body: MaintenancePlanned) -> None:
    plans.ready.pop(0)
    if body.is_over:
        plans.told.pop(body.window, None)
    else:
        plans.told[body.window] = body


def _planned(row: StatusRow) -> MaintenancePlanned:
    return MaintenancePlanned(
        window=row.id,
        title=row.title,
        begin_at=row.begin * NS_PER_MS,
        end_at=row.end * NS_PER_MS,
        is_over=row.state in OVER,
    )
