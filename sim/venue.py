"""What the routes may look at and act on: markets, feeds, the desk, and the time it is."""

from __future__ import annotations

from sim.backcast import Backcast
from sim.desk import Desk
from sim.feed import Feed
from sim.market import Market


class Venue:
    def __init__(self, markets: dict[str, Market], desk: Desk, backcast: Backcast, incarnation: str) -> None:
        self.markets = markets
        self.desk = desk
        self.feeds = {symbol: Feed(market) for symbol, market in markets.items()}
        self.backcast = backcast
        self.incarnation = incarnation
        self.now = 0
        """Exchange time in ns of what is being done."""
        self.restarted_at = 0
        """Orders that closed before are not known to order/realtime any more."""
