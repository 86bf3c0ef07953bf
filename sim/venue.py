"""What the routes may look at and act on: markets, feeds, the desk, and the time it is."""

from __future__ import annotations

from sim.engine.desk import Desk
from sim.engine.market import Market
from sim.state import Window
from sim.streams.feed import Feed
from sim.tapes.backcast import Backcast


class Venue:
    def __init__(
        self, markets: dict[str, Market], desk: Desk, backcast: Backcast, incarnation: str, seed: int = 0
    ) -> None:
        self.markets = markets
        self.desk = desk
        self.feeds = {symbol: Feed(market, desk.resting[symbol]) for symbol, market in markets.items()}
        self.backcast = backcast
        self.incarnation, self.seed = incarnation, seed
        self.windows: list[Window] = []
        self.now = 0
        """Exchange time in ns of what is being done."""
        self.order_limit = 500
        """Active orders an account may have on a symbol."""
        self.restarted_at = 0
        """Orders that closed before are not known to order/realtime any more."""

    def down(self, service: int, product: int | None = None) -> bool:
        """Is a service (of a product) in maintenance now?"""
        return any(
            service in window.services and (product is None or product in window.products)
            for window in self.windows
            if window.begin <= self.now < window.end and not window.canceled
        )
