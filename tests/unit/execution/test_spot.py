"""How purchases and sales of spot are booked, and when a holding is as good as none."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.bybit import rest, wire
from libs.common.events import InstrumentDefined
from libs.common.portfolio import Ledger
from libs.common.values import Grid, Side, to_units
from services.execution import spot

PAIR = "BTCUSDT-SPOT"
D = Decimal


def holding(lot: str = "0.000001") -> Ledger:
    ledger = Ledger()
    ledger.define(PAIR, Grid(tick_size=D("0.1"), lot_size=D(lot)))
    return ledger


def execution(side: str, qty: str, price: str, fee: str, coin: str) -> wire.Execution:
    row = wire.ExecutionRow(
        exec_id="1", symbol="BTCUSDT", category="spot", side=side, exec_type="Trade", exec_qty=qty, exec_price=price,
        exec_fee=fee, fee_currency=coin,
    )  # fmt: skip
    return wire.execution_of(row)


def test_a_fee_in_coins_is_cost_and_what_is_below_a_lot_is_dust():
    done = execution("Buy", "0.0015", "60000", "0.0000015", "BTC")
    booked = spot.booked(done, holding(), spot.Coins())
    assert (booked.qty, booked.fee, booked.dust) == (D("0.001498"), D("0.12"), D("0.0000005"))


def test_dust_becomes_a_lot_when_there_is_enough_of_it():
    coins = spot.Coins(dust={PAIR: D("0.0000006")})
    booked = spot.booked(execution("Buy", "0.0015", "60000", "0.0000015", "BTC"), holding(), coins)
    assert (booked.qty, booked.dust) == (D("0.001499"), D("-0.0000005"))


def test_a_sale_is_booked_as_the_venue_says():
    booked = spot.booked(execution("Sell", "0.001", "60000", "0.06", "USDT"), holding(), spot.Coins())
    assert (booked.qty, booked.fee, booked.dust) == (D("0.001"), D("0.06"), 0)


@given(
    lots=st.integers(1, 5_000_000),
    ticks=st.integers(1, 2_000_000),
    rate=st.integers(0, 100_000),
    dust=st.integers(0, 999),
)
def test_no_coin_and_no_money_is_lost(lots: int, ticks: int, rate: int, dust: int):
    ledger, qty, price = holding(), D(lots).scaleb(-6), D(ticks).scaleb(-1)
    fee = qty * D(rate).scaleb(-8)
    before = D(dust).scaleb(-9)
    done = execution("Buy", f"{qty:f}", f"{price:f}", f"{fee:f}", "BTC")
    booked = spot.booked(done, ledger, spot.Coins(dust={PAIR: before}))
    assert booked.qty + booked.dust == qty - fee
    assert 0 <= before + booked.dust < D("0.000001")
    assert to_units(booked.fee) + to_units(booked.qty * price) == to_units(qty * price)


@pytest.mark.parametrize(("lots", "flat"), [(0, True), (5, True), (50, True), (2_000, False)])
def test_less_than_can_be_sold_is_flat(lots: int, flat: bool):
    ledger, coins = holding(), spot.Coins()
    coins.define(
        InstrumentDefined(
            symbol=PAIR,
            tick_size=D("0.1"),
            lot_size=D("0.000001"),
            min_qty=D("0.000011"),
            max_qty=D(83),
            min_notional=D(5),
        )
    )
    if lots:
        ledger._fill("arb", PAIR, 1, D(lots).scaleb(-6), D(60000), D(0))
    assert spot.is_flat(ledger, coins, PAIR) is flat


def test_a_spot_order_names_its_category_and_nothing_that_spot_does_not_know():
    call = rest.create_order(
        link_id="tg-1", symbol=PAIR, side=Side.SELL, qty=D("0.1"), price=D(60000), time_in_force="IOC", reduce_only=True
    )  # fmt: skip
    assert '"category":"spot","symbol":"BTCUSDT"' in call.body
    assert "reduceOnly" not in call.body
    assert "positionIdx" not in call.body
    assert rest.order_now("tg-1", PAIR).target.endswith("category=spot&symbol=BTCUSDT&orderLinkId=tg-1")
