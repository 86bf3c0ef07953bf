"""Stamps of an exchange whose clock is off: every event stamp of a message is moved.

Labels of a schedule (start and end of a candle, the next funding) are no readings of a clock and stay.
"""

from __future__ import annotations

from typing import Any

MS = frozenset({
    "time", "ts", "cts", "T", "creationTime", "createdTime", "updatedTime", "execTime", "transactionTime", "timestamp",
    "Timenow",
})  # fmt: skip
UNITS_NS = {"timeSecond": 1_000_000_000, "timeNano": 1} | dict.fromkeys(MS, 1_000_000)


def shifted(value: Any, skew_ns: int) -> Any:
    """A copy of a decoded message with its stamps (numbers or strings of digits) moved."""
    if isinstance(value, dict):
        return {key: _moved(key, item, skew_ns) for key, item in value.items()}
    if isinstance(value, list):
        return [shifted(item, skew_ns) for item in value]
    return value


def _moved(key: str, value: Any, skew_ns: int) -> Any:
    unit = UNITS_NS.get(key)
    if unit is None or isinstance(value, dict | list):
        return shifted(value, skew_ns)
    if isinstance(value, int) and value > 0:
        return value + skew_ns // unit
    if isinstance(value, str) and value.isdigit() and value != "0":
        return str(int(value) + skew_ns // unit)
    return value
