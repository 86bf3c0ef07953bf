"""The ledger: average entry, fees, funding, margin, liquidation."""

from __future__ import annotations

from decimal import Decimal

from libs.common.values import divide_half_even
from sim.engine.account import fee_of, trade
from sim.engine.orders import Position
from tests.simbench import BTC, PRICE, Bench

UNITS = 10_000  # one tick times one lot of BTCUSDT in 1e-8 USDT


def test_average_entry_and_released_cost() -> None:
    position = Position(symbol=BTC)
    assert trade(position, 3, 100) == (0, 0, 0)
    assert trade(position, 4, 101) == (0, 0, 0)
    assert (position.lots, position.cost) == (7, 704)
    released = divide_half_even(704 * 2, 7)
    assert trade(position, -2, 110) == (2, 220 - released, released)
    assert (position.lots, position.cost) == (5, 704 - released)


def test_a_close_releases_the_whole_cost() -> None:
    position = Position(symbol=BTC, lots=-7, cost=703)
    assert trade(position, 7, 100) == (7, 3, 703)
    assert (position.lots, position.cost) == (0, 0)


def test_a_flip_closes_then_opens_at_the_new_price() -> None:
    position = Position(symbol=BTC, lots=2, cost=200)
    assert trade(position, -5, 90) == (2, -20, 200)
    assert (position.lots, position.cost) == (-3, 270)


def test_fee_is_rounded_half_even() -> None:
    assert fee_of(50_000_000, 1) == 0
    assert fee_of(150_000_000, 1) == 2
    assert fee_of(100, -50_000_000) == -50


def test_unrealised_is_mirrored_for_a_short() -> None:
    assert Position(symbol=BTC, lots=2, cost=2 * 100 * UNITS).unrealised(110, UNITS) == 20 * UNITS
    assert Position(symbol=BTC, lots=-2, cost=2 * 100 * UNITS).unrealised(110, UNITS) == -20 * UNITS


def test_fees_and_pnl_reach_the_wallet() -> None:
    bench = Bench()
    bench.create("Buy", "0.01", "60010")
    bench.create("Sell", "0.01", "59990", timeInForce="IOC")
    bought, sold = Decimal("600.01"), Decimal("599.99")
    expected = 10_000 - (bought + sold) * Decimal("0.00055") + sold - bought
    coin = bench.ask("GET", "/v5/account/wallet-balance", "accountType=UNIFIED")["result"]["list"][0]["coin"][0]
    assert Decimal(coin["walletBalance"]) == expected
    assert bench.rows("position")[-1]["side"] == ""


def test_maker_pays_the_maker_fee() -> None:
    bench = Bench()
    bench.create("Buy", "0.01", "60000")
    bench.print(PRICE - 1, 5, -1)
    bench.play()
    (row,) = bench.rows("execution")
    assert (row["feeRate"], row["execFee"], row["isMaker"]) == ("0.0002", "0.12", True)


def funded(side: str) -> tuple[Bench, dict[str, object]]:
    bench = Bench()
    bench.create(side, "0.01", "60010" if side == "Buy" else "59990")
    bench.play(2 * 3600)
    (row,) = [row for row in bench.rows("execution") if row["execType"] == "Funding"]
    return bench, row


def test_funding_is_charged_at_eight_on_mark() -> None:
    bench, row = funded("Buy")
    market = bench.exchange.venue.markets[BTC]
    stamp_ms = 1_704_096_000_000
    rate = Decimal(market.funding_e8(stamp_ms)) / 10**8
    assert row["execTime"] == str(stamp_ms)
    assert row["orderType"] == "UNKNOWN"
    assert row["orderLinkId"] == ""
    assert Decimal(str(row["execFee"])) == Decimal(str(row["execValue"])) * rate
    assert Decimal(str(row["execValue"])) == Decimal(str(row["execPrice"])) * Decimal("0.01")


def test_funding_of_a_short_is_the_mirror() -> None:
    _, long_row = funded("Buy")
    _, short_row = funded("Sell")
    assert Decimal(str(long_row["feeRate"])) == -Decimal(str(short_row["feeRate"]))
    assert Decimal(str(long_row["execFee"])) == -Decimal(str(short_row["execFee"]))


def test_funding_needs_a_position_and_a_stamp() -> None:
    bench = Bench()
    bench.play(2 * 3600)
    assert bench.rows("execution") == []


def test_margin_refuses_what_the_wallet_cannot_carry() -> None:
    bench = Bench()
    # 10 000 USDT at 10x carry 100 000: 1.6 BTC at 60 000 fit, 1.7 do not.
    assert bench.create("Buy", "1.7", "59000")["retCode"] == 110007
    assert bench.create("Buy", "1.6", "59000")["retCode"] == 0
    assert bench.create("Buy", "0.1", "59000")["retCode"] == 110007
    assert bench.create("Sell", "0.1", "61000")["retCode"] == 0, "the smaller side adds no margin"


def test_liquidation_ends_at_zero_and_does_not_crash() -> None:
    bench = Bench()
    bench.book(lots=2000)
    bench.play()
    bench.create("Buy", "1.5", "60100")
    assert bench.position() == 1500
    for step in range(1, 60):
        bench.print(PRICE - step * 2_000, 1, -1)
        bench.book(middle=PRICE - step * 2_000)
        bench.play(10)
    assert bench.position() == 0
    assert bench.rows("execution")[-1]["execType"] == "BustTrade"
    assert bench.account.wallet >= 0
