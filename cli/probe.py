"""Is the real exchange's public side there, from here, and does it trade what is asked for?"""

from __future__ import annotations

import httpx
import msgspec

from libs.bybit import rest
from libs.bybit.market import InstrumentRows
from libs.bybit.wire import decode
from libs.common.errors import UnreachableError, UsageError

TIMEOUT_S = 10.0
REMEDY = "check the network and [venue] network, region, public_rest_url; without a network: tidegate up --tape synthetic:seed=7"
_FORBIDDEN = 403


def check_public_side(url: str, symbols: list[str]) -> None:
    """Raises UnreachableError naming host and remedy, or UsageError for a symbol that is not traded there."""
    with httpx.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False) as http:
        _get(http, url, rest.market_time())
        for symbol in symbols:
            reply = _get(http, url, rest.instruments("linear", symbol))
            try:
                rows = decode(InstrumentRows, reply.result).rows
            except msgspec.DecodeError as e:
                raise UnreachableError(f"expected {url} to describe {symbol}, was: {e}; {REMEDY}") from e
            if not any(row.symbol == symbol and row.status == "Trading" for row in rows):
                raise UsageError(f"expected {symbol} to be traded on {url}, was not; change marketdata.symbols")


def _get(http: httpx.Client, url: str, call: rest.Call) -> rest.Reply:
    try:
        response = http.get(call.target)
    except httpx.HTTPError as e:
        raise UnreachableError(f"expected {url} to answer, was {_reason(e)}; {REMEDY}") from e
    if response.status_code == _FORBIDDEN:
        raise UnreachableError(
            f"expected {url} to serve this address, was HTTP 403; it does not serve every country: set [venue] region to your site's"
        )
    reply = rest.reply_of(response.status_code, response.text)
    if not reply.ok:
        raise UnreachableError(
            f"expected {url} to answer, was HTTP {response.status_code} {reply.message[:80]}; {REMEDY}"
        )
    return reply


def _reason(error: httpx.HTTPError) -> str:
    text = str(error).splitlines()[0].rstrip(".") if str(error) else ""
    return f"{type(error).__name__} ({text})" if text else type(error).__name__
