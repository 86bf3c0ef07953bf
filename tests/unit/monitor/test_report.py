"""The report says what the archive says, in the keys that were promised, on a page that needs nothing else."""

from __future__ import annotations

import html.parser
import json
import re
from decimal import Decimal
from pathlib import Path

import pytest

from libs.common import events as e
from libs.common.errors import UsageError
from services.monitor.charts import WIDTH, draw, thin
from services.monitor.figures import Curve, gather
from services.monitor.report import build_report
from tests.unit.monitor.sample import START, Tape, d, mark, write_sample_run

KEYS = {
    "seed", "tape", "stage", "events", "orders", "fills", "refusals", "halts", "equity", "pnl_by_strategy", "latency",
    "replay", "reconciliation", "flat",
}  # fmt: skip
FLAT = {"orders": 0, "positions": 0}


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run")
    write_sample_run(path)
    build_report(path, replay={"events": 4406, "differences": 0}, flat=FLAT)
    return path


def report(run_dir: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((run_dir / "report.json").read_text(), parse_float=Decimal)
    return found


def test_the_keys_are_exactly_the_promised_ones(run_dir: Path) -> None:
    found = report(run_dir)
    assert set(found) == KEYS
    assert set(found["equity"]) == {"start", "end", "peak", "max_drawdown"}  # type: ignore[call-overload]
    assert set(found["latency"]) == {"tick_to_order_ms", "order_ack_ms"}  # type: ignore[call-overload]
    assert all(set(v) == {"p50", "p99"} for v in found["latency"].values())  # type: ignore[attr-defined]
    assert set(found["replay"]) == {"events", "differences"}  # type: ignore[call-overload]
    assert set(found["reconciliation"]) == {"checks", "mismatches"}  # type: ignore[call-overload]
    for halt in found["halts"]:  # type: ignore[attr-defined]
        assert set(halt) == {"id", "reason", "measured", "limit", "at"}


def test_the_figures_are_those_of_the_events(tmp_path: Path) -> None:
    tape = write_sample_run(tmp_path)
    found = build_report(tmp_path)
    marks = [r.body for r in tape.records if isinstance(r.body, e.PortfolioMarked)]
    kinds = [type(r.body).__name__ for r in tape.records]
    assert found["orders"] == kinds.count("OrderSubmitted")
    assert found["fills"] == kinds.count("Fill")
    assert sum(found["refusals"].values()) == kinds.count("OrderRefused")
    assert found["events"]["tick"] == kinds.count("Tick")
    assert sum(found["events"].values()) == len(tape.records)
    assert found["equity"] == {
        "start": marks[0].equity,
        "end": marks[-1].equity,
        "peak": max(m.equity for m in marks),
        "max_drawdown": max(m.drawdown for m in marks),
    }
    assert found["pnl_by_strategy"] == dict(sorted(marks[-1].pnl_by_strategy.items()))
    assert (found["seed"], found["tape"], found["stage"]) == (7, "synthetic:seed=7", "paper")
    assert found["replay"] == {"events": None, "differences": None}
    assert found["flat"] is None


def test_halts_are_named_by_their_events_and_birth_is_none(run_dir: Path) -> None:
    halts = report(run_dir)["halts"]
    assert [halt["reason"] for halt in halts] == ["max_drawdown", "OPERATOR"]  # type: ignore[attr-defined]
    assert halts[0]["limit"] == Decimal("0.10")  # type: ignore[index]
    assert int(halts[0]["at"]) > START  # type: ignore[index]


def test_latency_is_merged_wall_clock(run_dir: Path) -> None:
    latency = report(run_dir)["latency"]
    assert latency["order_ack_ms"]["p50"] == pytest.approx(Decimal(6), rel=Decimal("0.02"))  # type: ignore[index]
    assert latency["order_ack_ms"]["p99"] == pytest.approx(Decimal(30), rel=Decimal("0.02"))  # type: ignore[index]


def test_a_run_without_anything_still_has_a_report(tmp_path: Path) -> None:
    tape = Tape()
    tape.add(e.StageChanged(stage="paper", share=d(1)), 1)
    tape.write(tmp_path)
    found = build_report(tmp_path)
    assert set(found) == KEYS
    assert found["latency"]["order_ack_ms"] == {"p50": None, "p99": None}
    page = (tmp_path / "report.html").read_text()
    assert "Nothing was traded." in page
    assert "nothing was recorded" in page


def test_no_archive_is_the_callers_fault(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name a run directory"):
        build_report(tmp_path / "nowhere")


# --- the page ----------------------------------------------------------------------------------------------------


class Page(html.parser.HTMLParser):
    VOID = {"meta", "br", "link", "img", "input", "hr"}
    DRAWN = {"rect", "line", "path"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else(run_dir: Path) -> None:
    text = (run_dir / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "img", "iframe", "object")]
    assert not [a for _, attrs in page.tags for a in attrs if a.startswith("on") or a in ("src", "href", "xlink:href")]
    assert not re.search(r"https?:|@import|url\(", text)
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def test_the_page_draws_and_tells_what_matters(run_dir: Path) -> None:
    text = (run_dir / "report.html").read_text()
    figures = gather(run_dir)
    assert text.count('<line class="mark"') == 4  # two halts on each of two charts
    assert text.count('class="band halted"') >= 4
    for words in (
        "Equity", "Drawdown", "limit 10.00 %", "Fills by strategy", "Refusals by reason", "Latency", "replay identical",
        "flat at the exchange", f"{figures.end:,.2f}", "by ana", "mean_reversion", "below minimum", "book HALTED",
    ):  # fmt: skip
        assert words in text, words


def test_a_diverged_replay_is_not_hidden(tmp_path: Path) -> None:
    write_sample_run(tmp_path, minutes=20)
    build_report(tmp_path, replay={"events": 9, "differences": 3}, flat={"orders": 0, "positions": 1})
    text = (tmp_path / "report.html").read_text()
    assert "replay differs" in text
    assert "in 3 events" in text
    assert "not flat" in text


def test_text_from_events_is_escaped(tmp_path: Path) -> None:
    tape = Tape()
    tape.add(mark(10000, 10000), 1)
    tape.add(e.Halted(reason=e.Reason.OPERATOR, measured=d(0), limit=d(0), detail="<script>alert(1)</script>"), 2)
    tape.write(tmp_path)
    build_report(tmp_path)
    assert "<script>" not in (tmp_path / "report.html").read_text()


# --- charts ------------------------------------------------------------------------------------------------------


def test_thinning_keeps_the_extremes() -> None:
    curve = Curve()
    for at in range(100_000):
        curve.add(at, 5_000.0 if at == 43_210 else -7.0 if at == 9 else 1.0)
    kept = thin(curve, 0, 99_999)
    assert len(kept) <= 2_000
    assert (43_210, 5_000.0) in kept
    assert (9, -7.0) in kept
    assert kept == sorted(kept)


def test_a_flat_curve_and_a_single_point_can_be_drawn() -> None:
    for points in ([(0, 5.0)], [(0, 5.0), (10, 5.0)], [(0, 0.0)]):
        curve = Curve()
        for at, value in points:
            curve.add(at, value)
        chart = draw(curve, 0, 10)
        assert "nan" not in chart.line.lower()
        assert len(chart.y_labels) >= 2


def test_everything_stays_in_the_box() -> None:
    curve = Curve()
    for at in range(50):
        curve.add(at, (at * 37) % 11 - 3.3)
    chart = draw(curve, 0, 49, rule=9.0)
    numbers = [float(n) for n in re.findall(r"-?\d+\.\d", chart.line)]
    assert all(0 <= x <= WIDTH for x in numbers[::2])
    assert all(0 <= y <= chart.height for y in numbers[1::2])
    assert chart.rule is not None
    assert 0 <= chart.rule <= chart.height
