"""Private routes about coins: what exists and on which chains it moves."""

from __future__ import annotations

from typing import Any

from sim.engine.account import Account
from sim.routes.params import Params, text
from sim.venue import Venue

CHAINS = {"USDT": ("ETH", "Ethereum", "6"), "BTC": ("BTC", "Bitcoin", "2"), "ETH": ("ETH", "Ethereum", "6")}


def coin_info(venue: Venue, account: Account, params: Params) -> dict[str, Any]:
    """Coins that are traded here. Deposits come by the operator of the simulator, withdrawals are not possible."""
    coins = ["USDT", *dict.fromkeys(market.instrument.base_coin for market in venue.markets.values())]
    wanted = text(params, "coin")
    return {"rows": [_row(coin) for coin in coins if wanted in ("", coin)]}


def _row(coin: str) -> dict[str, Any]:
    chain, name, confirmations = CHAINS.get(coin, (coin, coin, "12"))
    return {
        "name": coin,
        "coin": coin,
        "remainAmount": "10000000",
        "chains": [
            {
                "chainType": name,
                "confirmation": confirmations,
                "withdrawFee": "",
                "depositMin": "0",
                "withdrawMin": "0",
                "chain": chain,
                "chainDeposit": "1",
                "chainWithdraw": "0",
                "minAccuracy": "8",
                "withdrawPercentageFee": "0",
                "contractAddress": "",
                "safeConfirmNumber": confirmations,
                "withdrawMax": "0",
            }
        ],
    }


ROUTES = {("GET", "/v5/asset/coin/query-info"): coin_info}
