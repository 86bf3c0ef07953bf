"""Days left follow the growth that was seen."""

from __future__ import annotations

from services.monitor.forecast import Forecast, memory


def test_days_left_at_the_growth_seen() -> None:
    forecast = Forecast()
    assert forecast.days_left(0.0, 1000, 9000) == -1
    assert forecast.days_left(86_400.0, 3000, 9000) == 3.0
    assert forecast.days_left(2 * 86_400.0, 9000, 9000) == 0.0


def test_without_growth_or_limit_there_is_no_end() -> None:
    forecast = Forecast()
    forecast.days_left(0.0, 1000, 9000)
    assert forecast.days_left(60.0, 900, 9000) == -1
    assert forecast.days_left(120.0, 5000, 0) == -1


def test_only_the_last_hour_counts() -> None:
    forecast = Forecast()
    for minute in range(200):
        days = forecast.days_left(minute * 60.0, 10**9 if minute < 100 else 10**9 + (minute - 100) * 1000, 2 * 10**9)
    assert 0 < days < 10**6


def test_the_reply_of_info() -> None:
    assert memory(b"# Memory\r\nused_memory:123\r\nused_memory_human:1K\r\nmaxmemory:456\r\n") == (123, 456)
    assert memory(b"") == (0, 0)
