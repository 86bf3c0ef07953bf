"""The watchdog's pure parts: how long is silence, what is an entry, the next slice."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.bybit import wire
from libs.bybit.market import InstrumentRow, LotSizeFilter, PriceFilter, RiskParameters, TickerRow
from libs.common.values import Side
from services.execution.config import ExecutionConfig
from services.execution.watchdog import closing
from services.execution.watchdog.config import WatchdogConfig, address_of
from services.execution.watchdog.silence import Phase, Silence

S = 1_000_000_000
CONFIG = WatchdogConfig(armed=True)
RULES = closing.Rules(
    tick=Decimal("0.1"), step=Decimal("0.001"), least=Decimal("0.001"), most=Decimal(100), mark=Decimal(50_000),
    limit_ratio=Decimal("0.1"),
)  # fmt: skip
TERMS = closing.Terms(slice_usd=Decimal(10_000), collar=Decimal("0.03"))


def test_silence_is_the_younger_of_the_two_ways():
    silence = Silence(started_at=100 * S)
    silence.beat(110 * S)
    silence.committed(1, 112 * S)
    assert silence.silent_ms(115 * S) == 5_000, "the first look at the bus proves nothing"
    silence.committed(2, 115 * S)
    assert silence.silent_ms(116 * S) == 1_000
    silence.committed(2, 200 * S)
    assert silence.silent_ms(200 * S) == 85_000
    silence.beat(200 * S)
    assert silence.silent_ms(200 * S) == 0


@pytest.mark.parametrize(
    ("ms", "armed", "phase"),
    [
        (4_999, True, Phase.WATCHING),
        (5_000, True, Phase.CANCELLING),
        (59_999, True, Phase.CANCELLING),
        (60_000, True, Phase.FLATTENING),
        (600_000, False, Phase.CANCELLING),
    ],
)
def test_phases_begin_at_their_instant(ms: int, armed: bool, phase: Phase):
    silence = Silence(started_at=0)
    assert silence.phase(ms * 1_000_000, WatchdogConfig(armed=armed)) is phase


def test_a_beat_stands_it_down():
    silence = Silence(started_at=0)
    assert silence.phase(70 * S, CONFIG) is Phase.FLATTENING
    silence.beat(70 * S)
    assert silence.phase(70 * S, CONFIG) is Phase.WATCHING


def row(**fields: object) -> wire.OrderRow:
    return wire.OrderRow(**{"order_status": "New", "symbol": "BTCUSDT"} | fields)  # type: ignore[arg-type]


def test_what_protects_is_no_entry_and_what_may_add_risk_is_one():
    found = closing.sorted_orders([
        row(order_id="entry"),
        row(order_id="partly", order_status="PartiallyFilled"),
        row(order_id="exit", reduce_only=True),
        row(order_id="stop", order_status="Untriggered", stop_order_type="StopLoss", reduce_only=True),
        row(order_id="bare stop", order_status="Untriggered", stop_order_type="StopLoss"),
        row(order_id="breakout", order_status="Untriggered", stop_order_type="Stop"),
        row(order_id="trigger exit", order_status="Untriggered", stop_order_type="Stop", reduce_only=True),
        row(order_id="gone", order_status="Cancelled"),
    ])  # fmt: skip
    assert [o.order_id for o in found.entries] == ["entry", "partly", "breakout"]
    assert [o.order_id for o in found.exits] == ["exit"]
    assert [o.order_id for o in found.stops] == ["stop", "bare stop", "trigger exit"]


def held(qty: str) -> wire.Position:
    return wire.Position("BTCUSDT", Decimal(qty), Decimal(50_000))


@given(
    qty=st.integers(-20_000, 20_000),
    slice_usd=st.integers(5_000, 1_000_000),
    least=st.integers(1, 50),
    tries=st.integers(0, 50),
)
def test_slices_end_a_position_and_never_turn_it(qty: int, slice_usd: int, least: int, tries: int):
    """Each slice reduces, is on the grid, within the venue's bounds, and leaves nothing behind that cannot be closed."""
    rules = closing.Rules(RULES.tick, RULES.step, RULES.step * least, Decimal(100), RULES.mark, RULES.limit_ratio)
    terms = closing.Terms(Decimal(slice_usd), TERMS.collar)
    left = RULES.step * qty
    for _ in range(400):
        piece = closing.next_slice(wire.Position("BTCUSDT", left, Decimal(1)), rules, terms, tries)
        if piece is None:
            break
        assert piece.side is (Side.SELL if left > 0 else Side.BUY)
        assert 0 < piece.qty <= min(abs(left), rules.most)
        assert piece.qty % rules.step == 0
        assert piece.qty >= min(rules.least, abs(left))
        rest = abs(left) - piece.qty
        assert rest == 0 or rest >= rules.least or piece.qty == rules.most
        assert abs(piece.price - rules.mark) <= rules.mark * rules.limit_ratio
        assert piece.price % rules.tick == 0
        left += piece.side.sign * piece.qty
    assert left == 0


def test_the_collar_doubles_up_to_the_venues_own_limit():
    prices = [closing.collar_price(Side.SELL, RULES, Decimal("0.03"), tries) for tries in range(4)]
    assert prices == [Decimal("48500.0"), Decimal("47000.0"), Decimal("45000.0"), Decimal("45000.0")]
    assert closing.collar_price(Side.BUY, RULES, Decimal("0.03"), 9) == Decimal("55000.0")
    no_limit = closing.Rules(RULES.tick, RULES.step, RULES.least, RULES.most, RULES.mark)
    assert closing.collar_price(Side.SELL, no_limit, Decimal("0.03"), 30) == Decimal("500.0")


def test_without_a_mark_there_is_no_price_and_dust_is_named():
    blind = closing.Rules(RULES.tick, RULES.step, RULES.least, RULES.most, Decimal(0))
    assert closing.next_slice(held("1"), blind, TERMS, 0) is None
    assert closing.is_dust(held("0.0005"), RULES)
    assert not closing.is_dust(held("-0.001"), RULES)
    assert not closing.is_dust(held("0"), RULES)


def test_rules_come_from_the_venues_rows():
    instrument = InstrumentRow(
        "BTCUSDT", PriceFilter("0.10"), LotSizeFilter("0.001", "1190", "0.001"), risk_parameters=RiskParameters("0.05")
    )
    rules = closing.rules_of(instrument, TickerRow("BTCUSDT", last_price="99", mark_price="100.5"))
    assert (rules.tick, rules.step, rules.most, rules.mark, rules.limit_ratio) == tuple(
        map(Decimal, ("0.10", "0.001", "1190", "100.5", "0.05"))
    )
    assert closing.rules_of(instrument, TickerRow("BTCUSDT", last_price="99")).mark == 99


def test_execution_knows_its_orders():
    assert ExecutionConfig().watchdog_prefix == closing.PREFIX
    assert not closing.PREFIX.startswith(ExecutionConfig().own_prefix)


@pytest.mark.parametrize("url", ["http://a:1", "udp://a", "udp://:9", "udp://a:99999", "nonsense"])
def test_a_beat_url_is_checked(url: str):
    with pytest.raises(ValueError, match=r"beat_url: expected udp://host:port, was"):
        WatchdogConfig(beat_url=url)
    assert address_of("udp://[::1]:9") == ("::1", 9)


@pytest.mark.parametrize(
    "wrong",
    [
        {"cancel_after_ms": 2_000},
        {"flatten_after_ms": 4_000},
        {"slice_usd": Decimal(0)},
        {"collar": Decimal(1)},
        {"round_every_ms": 0},
    ],
)
def test_settings_that_make_no_sense_are_named(wrong: dict[str, object]):
    with pytest.raises(ValueError, match=f"^{next(iter(wrong))}: expected"):
        WatchdogConfig(**wrong)  # type: ignore[arg-type]
