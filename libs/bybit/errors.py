"""What a Bybit answer means for us: retCodes and HTTP statuses sorted into outcomes.

The sets are data (source: the v5 error tables and recorded replies). A code that is in no set is `UNKNOWN` and is handled
like an ambiguous one: the venue may have acted, so we look before we say anything.
"""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """The class of an answer; what to do about it is the caller's."""

    OK = "ok"
    BENIGN = "benign"
    DUPLICATE = "duplicate"
    RATE_LIMIT = "rate_limit"
    IP_LIMIT = "ip_limit"
    CLOCK = "clock"
    AMBIGUOUS = "ambiguous"
    AUTH = "auth"
    BAD_REQUEST = "bad_request"
    GONE = "gone"
    BUSY = "busy"
    FUNDS = "funds"
    PRICE = "price"
    SIZE = "size"
    RISK = "risk"
    COUNT = "count"
    STATE = "state"
    UNKNOWN = "unknown"


CODES: dict[Outcome, frozenset[int]] = {
    Outcome.OK: frozenset({0}),
    Outcome.BENIGN: frozenset({110043, 110025, 110026, 110027, 34040}),
    Outcome.DUPLICATE: frozenset({110072, 170141, 10014, 20006}),
    Outcome.RATE_LIMIT: frozenset({10006, 170222, 20003}),
    Outcome.IP_LIMIT: frozenset({10018, 10403}),
    Outcome.CLOCK: frozenset({10002, -1}),
    Outcome.AMBIGUOUS: frozenset({10000, 10016, 10019, 10429, 429, 170007, 170146, 170147, 170001, 170032}),
    Outcome.AUTH: frozenset(
        {
            10003,
            10004,
            10005,
            10007,
            10008,
            10009,
            10010,
            10024,
            10027,
            10028,
            10029,
            33004,
            -2015,
            110123,
            110124,
            110125,
        }
    ),
    Outcome.BAD_REQUEST: frozenset(
        {10001, 10017, 10404, 10032, 110017, 110018, 110019, 110029, 110032, 110092, 110093}
    ),
    Outcome.GONE: frozenset({110001, 110008, 110010, 170213, 170142, 170139, 170143, 170190}),
    Outcome.BUSY: frozenset({110079, 40004, 110063, 110066}),
    Outcome.FUNDS: frozenset(
        {110004, 110006, 110007, 110012, 110014, 110044, 110045, 110051, 110052, 110053, 170033, 170131}
    ),
    Outcome.PRICE: frozenset(
        {110003, 110120, 110121, 30208, 30209, 110118, 170132, 170133, 170134, 170193, 170194, 170371, 170372}
    ),
    Outcome.SIZE: frozenset({110094, 110021, 110022, 110064, 170136, 170137, 170140, 170381}),
    Outcome.RISK: frozenset(
        {110011, 110013, 110023, 110036, 110038, 110039, 110040, 110046, 110085, 110086, 110089, 110090, 3400139}
    ),
    Outcome.COUNT: frozenset({110009, 110020, 110061, 170810}),
    Outcome.STATE: frozenset({110074, 110042, 30228, 170121, 170151}),
}

_OUTCOME_OF: dict[int, Outcome] = {code: outcome for outcome, codes in CODES.items() for code in codes}

NOT_MODIFIED = "not modified"
"""10001 with this text is a success: the order already is as asked."""

NEVER_PLACED = frozenset(
    {
        Outcome.AUTH,
        Outcome.BAD_REQUEST,
        Outcome.BUSY,
        Outcome.FUNDS,
        Outcome.PRICE,
        Outcome.SIZE,
        Outcome.RISK,
        Outcome.COUNT,
        Outcome.STATE,
        Outcome.GONE,
        Outcome.BENIGN,
    }
)
"""A create answered so never reached the book and never will."""

REFUSED_UNREAD = frozenset({Outcome.RATE_LIMIT, Outcome.IP_LIMIT, Outcome.CLOCK})
"""Turned away at the gateway before anything was processed: the same request may go again."""

MAYBE_PLACED = frozenset({Outcome.AMBIGUOUS, Outcome.UNKNOWN, Outcome.DUPLICATE})
"""The order may exist: ask for it by its orderLinkId, never send it again."""

API_ERRORS = frozenset(
    {Outcome.AMBIGUOUS, Outcome.UNKNOWN, Outcome.RATE_LIMIT, Outcome.IP_LIMIT, Outcome.CLOCK, Outcome.AUTH}
)
"""What counts as an API error for `max_error_rate`; business refusals of an order do not."""


def classify(status: int, code: int | None, message: str = "") -> Outcome:
    """Outcome of an HTTP answer. `code` is the envelope's retCode, None when the body is no envelope."""
    if code is None:
        return _by_status(status)
    if code == 10001 and NOT_MODIFIED in message:
        return Outcome.BENIGN
    return _OUTCOME_OF.get(code, Outcome.UNKNOWN)


def _by_status(status: int) -> Outcome:
    if status == 403:
        return Outcome.IP_LIMIT
    if status == 401:
        return Outcome.AUTH
    if status in (400, 404):
        return Outcome.BAD_REQUEST
    return Outcome.AMBIGUOUS
