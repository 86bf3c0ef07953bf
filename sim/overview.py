"""Everything that is open on an exchange, for people: GET /sim/state."""

from __future__ import annotations

from typing import Any

from sim.routes.rows import order_row, position_row, wallet_row
from sim.trading import status_rows
from sim.venue import Venue


def overview(venue: Venue, tape_finished: bool) -> dict[str, Any]:
    """Prices by symbol; open orders, positions, wallet and the number of fills by account; maintenance."""
    markets = venue.markets
    return {
        "now": venue.now,
        "incarnation": venue.incarnation,
        "tape_finished": tape_finished,
        "markets": {
            name: {
                "last": m.instrument.price_text(m.last),
                "mark": m.instrument.price_text(m.mark),
                "status": m.state.status,
            }
            for name, m in markets.items()
        },
        "accounts": {
            name: {
                "open_orders": [order_row(o, markets[o.symbol].instrument) for o in account.open_orders.values()],
                "positions": [position_row(p, markets, account) for p in account.positions.values() if p.lots],
                "wallet": wallet_row(account, markets),
                "fills": len(account.fills),
            }
            for name, account in venue.desk.accounts.items()
        },
        "maintenance": status_rows(venue),
    }
