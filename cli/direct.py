"""`tidegate flatten --direct`: close an account with nothing but the exchange and a key. No bus, no service, no state of ours."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from cli.context import Context, say
from cli.rundir import config_of
from libs.bybit.client import BybitDriver
from libs.common.errors import TidegateError, UnreachableError, UsageError
from libs.common.settings import Settings
from services.execution.watchdog.closer import Caller, Closer, Look, Unanswered
from services.execution.watchdog.closing import Terms
from services.execution.watchdog.config import WatchdogConfig

UNREACHABLE_AFTER_S = 20.0
SETTLE_S = 5.0
"""It must stay flat for so long: an order that was on its way when we began arrives within its window."""
ROUND_S = 0.2


def flatten_direct(ctx: Context, run_dir: Path | None, key: Path | None, url: str | None, within_s: int) -> int:
    """Until the exchange shows no position and no order; 1 when it does not in time. Raises UnreachableError or UsageError."""
    where = ctx if run_dir is None else Context(config_of(run_dir), ctx.bus, ctx.debug)
    settings = where.settings()
    config = settings.section("watchdog", WatchdogConfig)
    key_file = key or (settings.path(config.key_file) if config.key_file else None)
    if key_file is None:
        raise UsageError(
            "expected a key of the account, was none; set watchdog.key_file or name one with --venue-key FILE"
        )
    return asyncio.run(_close(settings, config, key_file, url or settings.venue.rest_url, within_s))


async def _close(settings: Settings, config: WatchdogConfig, key_file: Path, url: str, within_s: int) -> int:
    driver = BybitDriver(
        url, "", key_file, "flatten", lockstep=False, local_address=config.bind_address or None, recv_window_ms=5_000
    )
    caller = Caller(driver)
    say(f"closing the account at {url} directly; a running execution would go on, halt it first where you can")
    await caller.start()
    try:
        closer = Closer(caller, Terms(config.slice_usd, config.collar), config.settle_coin, _tell)
        return await _until_flat(closer, caller, url, within_s)
    finally:
        await caller.stop()


async def _until_flat(closer: Closer, caller: Caller, url: str, within_s: int) -> int:
    began_s, flat_s, said = time.monotonic(), 0.0, ""
    while True:
        now_s = time.monotonic()
        try:
            look = await closer.close_slices()
            if look.flat and look.orders.stops and not look.orders.entries:
                look = await closer.cancel_everything(look.dust)
        except Unanswered as problem:
            flat_s, text = 0.0, f"no usable answer yet: {problem}"
            if not caller.answered and now_s - began_s > UNREACHABLE_AFTER_S:
                raise UnreachableError(
                    f"expected {url} to answer, was nothing within {UNREACHABLE_AFTER_S:.0f} s"
                ) from problem
        else:
            text = _words(look)
            flat_s = (flat_s or now_s) if look.flat and look.orders.empty else 0.0
            if flat_s and now_s - flat_s >= SETTLE_S:
                print(f"flat by the exchange's own answer: no orders, no positions{_dust(look)}")
                return 0
        if text != said:
            say(f"{now_s - began_s:6.1f} s  {text}")
            said = text
        if now_s - began_s > within_s:
            raise TidegateError(f"expected the account to be flat within {within_s} s, was not: {said}; run it again")
        await asyncio.sleep(ROUND_S)


def _words(look: Look) -> str:
    held = ", ".join(f"{symbol} {qty}" for symbol, qty in sorted(look.held.items())) or "nothing"
    orders = look.orders
    return f"held: {held}; orders: {len(orders.entries)} entries, {len(orders.exits)} exits, {len(orders.stops)} stops"


def _dust(look: Look) -> str:
    left = ", ".join(f"{look.held[symbol]} {symbol}" for symbol in look.dust)
    return f"; below the exchange's minimum stays {left}" if left else ""


def _tell(what: str, **figures: Any) -> None:
    if what == "slice":
        answer = (
            "" if figures["answer"] == "ok" else f": {figures['answer']} {figures['code'] or ''} {figures['message']}"
        )
        say(f"          {figures['side']} {figures['qty']} {figures['symbol']} at {figures['price']} or better{answer}")
    else:
        say(f"          {figures['orders']} orders cancelled")
