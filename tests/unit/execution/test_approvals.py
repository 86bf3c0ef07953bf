"""What an approval must be to become an order: risk's own, whole, fresh, for this book, of the present writer, not used before."""

from __future__ import annotations

import ast
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec
import pytest

from libs.common import seal
from libs.common.events import Halted, LimitUse, Mode, OrderIntent, OrderRejected, OrderSubmitted, Purpose, Reason
from libs.common.seal import FORGERIES
from libs.common.values import Side
from services.execution import state
from services.execution.approvals import VerifiedIntent
from services.execution.config import ExecutionConfig
from tests.unit.execution.desk import CONFIG, KEY_ID, MS, PRIVATE_KEY, PUBLIC_KEY, START, TTL, Desk, exit_intent, intent

ROOT = Path(__file__).resolve().parents[3]
OTHER_PRIVATE, OTHER_PUBLIC = seal.generate()
ROTATION_ENDS = START + 60_000 * MS
BOOKED = msgspec.structs.replace(
    CONFIG,
    book="main",
    seal_keys={KEY_ID: PUBLIC_KEY, "next": OTHER_PUBLIC},
    seal_retired={KEY_ID: ROTATION_ENDS},
)


@pytest.fixture
def desk() -> Desk:
    return Desk(BOOKED)


def approval(private: str = PRIVATE_KEY, **changes: Any) -> OrderIntent:
    fields = {"book": "main", "epoch": 4, "expires_at": START + TTL} | changes
    return seal.sign(private, msgspec.structs.replace(intent(), seal="", **fields))


def told(desk: Desk, given: OrderIntent) -> str:
    """Feed an approval: why it was refused, "" when it became an order. A refused one sends nothing."""
    sent = len(desk.calls("/order/create"))
    (event,) = (e for e in desk.feed("order-intent", given) if isinstance(e, OrderSubmitted | OrderRejected))
    assert len(desk.calls("/order/create")) == sent + isinstance(event, OrderSubmitted)
    return event.reason if isinstance(event, OrderRejected) else ""


def test_a_whole_and_fresh_approval_becomes_an_order(desk: Desk) -> None:
    assert told(desk, approval()) == ""


def by_one_unit(value: Any) -> Any:
    """The nearest other value of a field."""
    match value:
        case bool():
            return not value
        case Enum():
            return next(other for other in type(value) if other is not value)
        case int():
            return value + 1
        case Decimal():
            return value + Decimal("0.00000001")
        case str():
            return f"x{value}"
        case _:
            return (*value, LimitUse(Reason.SPREAD, Decimal(1), Decimal(2)))


@pytest.mark.parametrize("field", [name for name in OrderIntent.__struct_fields__ if name != "seal"])
def test_one_unit_of_any_field_voids_the_seal(desk: Desk, field: str) -> None:
    whole = approval(expires_at=START + TTL - 1)  # one unit later is still no longer than allowed
    reason = told(desk, msgspec.structs.replace(whole, **{field: by_one_unit(getattr(whole, field))}))
    # An entry that was made an exit is refused before its seal is looked at.
    assert reason == {"book": "OTHER_BOOK", "purpose": "NOT_REDUCE_ONLY"}.get(field, "SEAL")


@pytest.mark.parametrize("i", range(0, 128, 9))
def test_one_digit_of_the_seal_voids_it(desk: Desk, i: int) -> None:
    whole = approval()
    digit = "0" if whole.seal[i] != "0" else "1"
    assert told(desk, msgspec.structs.replace(whole, seal=whole.seal[:i] + digit + whole.seal[i + 1 :])) == "SEAL"


def test_it_runs_out_to_the_nanosecond(desk: Desk) -> None:
    assert told(desk, approval(order_link_id="tg-1", expires_at=START + 1)) == ""
    assert told(desk, approval(order_link_id="tg-2", expires_at=START)) == "EXPIRED"


def test_a_command_of_an_operator_whose_clock_is_ahead_makes_no_exit_expire(desk: Desk) -> None:
    """A halt bears the moment of the command that asked for it."""
    desk.now += 3_600_000 * MS
    desk.feed("halt", Halted(reason=Reason.OPERATOR, measured=Decimal(1), limit=Decimal(0), mode=Mode.HALTED))
    desk.now -= 3_600_000 * MS
    assert told(desk, approval(reduce_only=True, purpose=Purpose.EXIT)) == ""


def test_it_may_not_last_longer_than_two_seconds(desk: Desk) -> None:
    assert told(desk, approval(order_link_id="tg-1", expires_at=START + TTL + 1)) == "LASTS_TOO_LONG"
    assert told(desk, approval(order_link_id="tg-2", expires_at=START + TTL)) == ""
    with pytest.raises(ValueError, match="longest_approval_ms"):
        ExecutionConfig(longest_approval_ms=2_001)


def test_it_is_used_once_also_by_a_process_that_took_over(desk: Desk) -> None:
    assert told(desk, approval()) == ""
    assert told(desk, approval()) == "DUPLICATE"
    successor = Desk(BOOKED)
    successor.core.restore(desk.core.snapshot())
    assert told(successor, approval()) == "DUPLICATE"
    assert told(successor, exit_again()) == "DUPLICATE"


def exit_again() -> OrderIntent:
    """The same approval's id on another order."""
    return seal.sign(
        PRIVATE_KEY, msgspec.structs.replace(exit_intent("tg-1"), seal="", book="main", epoch=4, expires_at=START + TTL)
    )


def test_no_flood_of_forgeries_makes_a_used_approval_forgotten(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "KEEP_IDS", 50)
    whole = approval(order_link_id="tg-once")
    assert told(desk, whole) == ""
    for number in range(200):
        assert told(desk, approval(OTHER_PRIVATE, order_link_id=f"tg-f{number}")) == "SEAL"
    assert told(desk, whole) == "DUPLICATE", "it has not run out yet"
    desk.pass_instant(TTL // MS + 1)
    assert told(desk, approval(order_link_id="tg-later", expires_at=desk.now + TTL)) == ""
    assert len(desk.core.state.used) == 50


@pytest.mark.parametrize(("symbol", "side", "reason"), [
    ("BTCUSDT-SPOT", Side.BUY, "NOT_REDUCE_ONLY"), ("BTCUSDT-SPOT", Side.SELL, ""), ("BTCUSDT", Side.BUY, ""),
])  # fmt: skip
def test_an_exit_that_the_venue_would_let_add_is_none(desk: Desk, symbol: str, side: Side, reason: str) -> None:
    """Spot knows no reduce-only: a purchase there is never a way out, whatever its approval says."""
    out = approval(symbol=symbol, side=side, reduce_only=True, purpose=Purpose.EXIT)
    assert told(desk, out) == reason


def test_a_writer_that_was_replaced_approves_nothing(desk: Desk) -> None:
    assert told(desk, approval(order_link_id="tg-1", epoch=4)) == ""
    assert told(desk, approval(order_link_id="tg-2", epoch=5)) == ""
    assert told(desk, approval(order_link_id="tg-3", epoch=4)) == "OLD_EPOCH"
    assert told(desk, approval(order_link_id="tg-4", epoch=5)) == ""
    successor = Desk(BOOKED)
    successor.core.restore(desk.core.snapshot())
    assert told(successor, approval(order_link_id="tg-5", epoch=4)) == "OLD_EPOCH"


@pytest.mark.parametrize("book", ["", "second", "mai", "MAIN"])
def test_an_approval_of_another_book_is_none_here(desk: Desk, book: str) -> None:
    assert told(desk, approval(book=book)) == "OTHER_BOOK"


@pytest.mark.parametrize("field", ["qty", "price", "stop_distance"])
@pytest.mark.parametrize("number", ["NaN", "sNaN", "Infinity", "-1"])
def test_an_approval_of_nonsense_is_none_whoever_sealed_it(desk: Desk, field: str, number: str) -> None:
    reason = "" if (field, number) == ("stop_distance", "-1") else "NO_ORDER"
    assert told(desk, approval(**{field: Decimal(number)})) == reason


def test_a_key_that_execution_was_not_given_seals_nothing(desk: Desk) -> None:
    stranger, _ = seal.generate()
    assert told(desk, approval(stranger, order_link_id="tg-1", key_id=KEY_ID)) == "SEAL"
    assert told(desk, approval(stranger, order_link_id="tg-2", key_id="stranger")) == "SEAL"
    assert told(desk, approval(OTHER_PRIVATE, order_link_id="tg-3", key_id=KEY_ID)) == "SEAL"


def test_a_rotation_overlaps_and_then_the_old_key_is_over(desk: Desk) -> None:
    assert told(desk, approval(order_link_id="tg-1", key_id=KEY_ID)) == ""
    assert told(desk, approval(OTHER_PRIVATE, order_link_id="tg-2", key_id="next")) == ""
    desk.now = ROTATION_ENDS - 1
    assert told(desk, approval(order_link_id="tg-3", key_id=KEY_ID, expires_at=desk.now + TTL)) == ""
    desk.now = ROTATION_ENDS
    assert told(desk, approval(order_link_id="tg-4", key_id=KEY_ID, expires_at=desk.now + TTL)) == "SEAL"
    fresh = approval(OTHER_PRIVATE, order_link_id="tg-5", key_id="next", expires_at=desk.now + TTL)
    assert told(desk, fresh) == ""


def test_no_more_than_two_keys_may_last() -> None:
    keys = {"a": PUBLIC_KEY, "b": OTHER_PUBLIC, "c": PUBLIC_KEY}
    with pytest.raises(ValueError, match="seal_keys: expected one key, or two"):
        ExecutionConfig(seal_keys=keys)
    assert ExecutionConfig(seal_keys=keys, seal_retired={"a": ROTATION_ENDS}).seal_retired


def test_what_somebody_else_wrote_is_told_apart_from_what_came_too_late() -> None:
    assert {"SEAL", "OLD_EPOCH", "OTHER_BOOK", "LASTS_TOO_LONG", "NO_ORDER"} == FORGERIES
    assert not FORGERIES & {"EXPIRED", "DUPLICATE", "HALTED", "RATE_LIMIT"}


# --- no other way to a create request -----------------------------------------------------------------------------------


def test_a_verified_intent_cannot_be_made_by_hand() -> None:
    with pytest.raises(TypeError, match="verified"):
        VerifiedIntent(approval(), object())


WAYS = {
    "VerifiedIntent": {"approvals.py:verified"},
    "OrderSubmitted": {"approvals.py:submission"},
    "create_order": {"approvals.py:create_call"},
    "submission": {"core.py:_answer"},
    "create_call": {"core.py:_learn_own"},
}


def made_in(path: Path) -> dict[str, set[str]]:
    """Where a module calls one of the names above: name -> {file:function}."""
    found: dict[str, set[str]] = {name: set() for name in WAYS}
    for function in ast.walk(ast.parse(path.read_text())):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                name = getattr(getattr(node, "func", None), "id", getattr(getattr(node, "func", None), "attr", ""))
                if isinstance(node, ast.Call) and name in found:
                    found[name].add(f"{path.name}:{function.name}")
    return found


def test_execution_makes_a_create_request_in_one_way_only() -> None:
    paths = [
        *(ROOT / "services/execution").glob("*.py"),
        ROOT / "libs/bybit/client.py",
        ROOT / "libs/bybit/lockstep.py",
    ]
    assert len(paths) > 12
    for name, where in WAYS.items():
        assert set().union(*(made_in(path)[name] for path in paths)) == where, name
    for path in paths:  # neither by the name of the endpoint nor by leaving the constructor out
        text = path.read_text()
        assert "order/create" not in text, path
        assert "__new__" not in text, path
        assert "_PROOF" not in text or path.name == "approvals.py"
