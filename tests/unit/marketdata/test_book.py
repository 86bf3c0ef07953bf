from __future__ import annotations

from decimal import Decimal

import pytest

from libs.common.events import RejectKind
from services.marketdata.book import Book
from services.marketdata.frames import BookData


def data(update: int, bids: dict[str, str], asks: dict[str, str]) -> BookData:
    def levels(side):
        return [(Decimal(price), Decimal(qty)) for price, qty in side.items()]

    return BookData(update=update, bids=levels(bids), asks=levels(asks))


def made() -> Book:
    book = Book()
    assert book.snapshot(data(7, {"10": "1", "9": "2"}, {"11": "3", "12": "4"})) is None
    return book


def test_a_delta_updates_inserts_and_deletes():
    book = made()
    assert book.delta(data(8, {"10": "5", "9": "0", "8.5": "1"}, {"10.5": "1", "99": "0"})) is None
    assert book.top(5) == (((Decimal(10), 5), (Decimal("8.5"), 1)), ((Decimal("10.5"), 1), (11, 3), (12, 4)))


def test_top_is_cut_to_the_levels_asked_for():
    assert made().top(1) == (((10, 1),), ((11, 3),))


@pytest.mark.parametrize(
    ("update", "kind", "synced"),
    [(7, RejectKind.DUPLICATE, True), (6, RejectKind.OUT_OF_ORDER, True), (9, RejectKind.GAP, False)],
)
def test_numbers_out_of_turn(update, kind, synced):
    book = made()
    assert book.delta(data(update, {"10": "9"}, {})) is kind
    assert book.synced is synced
    assert book.top(1)[0] == (((10, 1),) if synced else ())


def test_a_snapshot_replaces_everything_and_a_lower_number_is_a_restart():
    book = made()
    assert book.snapshot(data(1, {"5": "1"}, {})) is None
    assert (book.update, book.top(5)) == (1, (((5, 1),), ()))


@pytest.mark.parametrize("bad", ["NaN", "-1", "Infinity", "0", "1E+16"])
def test_bad_prices_change_nothing(bad):
    book = made()
    assert book.delta(data(8, {bad: "1"}, {})) is RejectKind.MALFORMED
    assert book.snapshot(data(8, {bad: "1"}, {})) is RejectKind.MALFORMED
    assert (book.update, book.synced) == (7, True)


def test_touching_sides_are_crossed():
    book = made()
    assert book.delta(data(8, {"11": "1"}, {})) is RejectKind.CROSSED
    assert not book.synced
    assert Book().snapshot(data(8, {"11": "1"}, {"10": "1"})) is RejectKind.CROSSED
