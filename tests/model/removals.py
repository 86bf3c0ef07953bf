"""Guards that the search does not judge, each with its removal and the test that misses it.

The search knows T1 to T4; what else refuses, halts or turns an approval down is shown by a test that fails when the guard is gone.
A limit is removed by letting it measure and never breach; any other guard by changing the line that is the guard. The gate's
own guards, in Lua, are removed by tests/property/test_gate.py; those of the protocol in the TLA+ model.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from decimal import Decimal

import msgspec
import pytest
from _pytest.runner import runtestprotocol

from libs.common.events import Reason
from services.risk import limits, modes, standing
from services.risk.draft import Draft
from services.risk.state import RiskState
from services.risk.verdict import Measured
from tests.model.guards import Patch
from tests.model.mutation import ROOT, forget, rewrite
from tests.model.results import Proved

CHILD_S = 60
"""A test that hangs without the guard has missed it: the child ends by SIGALRM."""


class Removal(msgspec.Struct, frozen=True):
    """`what`: the theorem, or the part of DESIGN §4, that the guard is for. `test` fails when `remove` was applied."""

    guard: str
    what: str
    remove: Patch
    test: str


def unenforced(name: str, *caps: str) -> Patch:
    """An entry limit that never breaches, and the caps that would keep an order within it."""

    def remove(patch: pytest.MonkeyPatch) -> None:
        reason, limit = next((r, x) for r, x in limits.ENTRY.items() if x.__name__ == name)
        assert set(caps) <= {cap.__name__ for cap in limits.CAPS}, f"no caps {caps}"
        patch.setitem(limits.ENTRY, reason, _calm(limit))
        patch.setattr(limits, "CAPS", tuple(cap for cap in limits.CAPS if cap.__name__ not in caps))

    return remove


def _calm(limit: limits.Limit) -> limits.Limit:
    def calm(state: RiskState, draft: Draft) -> Measured:
        measured, allowed, _ = limit(state, draft)
        return measured, allowed, False

    return calm


def unnoticed(name: str) -> Patch:
    """A transient cause that is never noted."""

    def remove(patch: pytest.MonkeyPatch) -> None:
        shipped, reason_of_it = modes.note, Reason(name)

        def note(state: RiskState, scope: str, reason: Reason, measured: Decimal, limit: Decimal) -> None:
            if reason is not reason_of_it:
                shipped(state, scope, reason, measured, limit)

        patch.setattr(modes, "note", note)

    return remove


def unwatched(name: str) -> Patch:
    """A limit on the book that halts nothing."""

    def remove(patch: pytest.MonkeyPatch) -> None:
        kept = {reason: limit for reason, limit in standing.STANDING.items() if limit.__name__ != name}
        assert len(kept) == len(standing.STANDING) - 1, f"no limit {name}"
        patch.setattr(standing, "STANDING", kept)

    return remove


def without(place: str, old: str, new: str = "") -> Patch:
    """The guard is the text `old` of the function `module:name`."""
    return lambda patch: rewrite(place, old, new)


LIMITS: tuple[tuple[str, str, str], ...] = (
    ("allow_list", "", "limits::test_allow_list_denies_by_default"),
    ("expired", "", "limits::test_expired_signal"),
    ("duplicate", "", "limits::test_duplicate_signal"),
    ("not_reconciled", "", "limits::test_not_reconciled_after_restart_and_mismatch"),
    ("no_market", "", "limits::test_no_market"),
    ("in_flight", "", "limits::test_one_order_in_flight"),
    ("signal_repeats", "", "edges_pairs::test_repeated_words_of_a_pair_disable_its_strategy"),
    ("order_rate", "", "limits::test_order_rate_counts_entries_of_the_last_second"),
    ("no_edge", "", "limits::test_no_edge"),
    ("spot_short", "", "hedges::test_no_coins_are_sold_that_are_not_owned"),
    ("entry_collar", "", "limits::test_entry_collar"),
    ("self_match", "", "limits::test_self_match_across_strategies"),
    ("position_limit_usd", "_cap_value", "limits::test_no_room_is_refused_by_its_limit"),
    ("max_order_usd", "_cap_order", "limits::test_caps_shrink_to_the_limit"),
    ("max_order_qty", "_cap_order", "limits::test_caps_shrink_to_the_limit"),
    ("max_gross_usd", "_cap_value", "limits::test_no_room_is_refused_by_its_limit"),
    ("max_net_usd", "_cap_net", "limits::test_no_room_is_refused_by_its_limit"),
    ("max_leverage", "", "limits::test_no_room_is_refused_by_its_limit"),
    ("spot_cash", "_cap_cash", "hedges::test_coins_are_bought_with_what_no_margin_holds"),
    ("below_minimum", "", "limits::test_below_minimum_without_allocation"),
)  # fmt: skip
"""Entry limits: name, the cap that keeps orders within it, test."""

NOTED: tuple[tuple[str, str], ...] = (
    ("feed_delay_ms", "edges_markets::test_a_tick_is_late_by_the_limit"),
    ("feed_silence", "modes::test_every_transient_cause"),
    ("clock_offset_ms", "modes::test_every_transient_cause"),
    ("max_margin_ratio", "hedges::test_margin_ratio_stops_entries"),
    ("velocity", "modes::test_every_transient_cause"),
    ("spread", "modes::test_every_transient_cause"),
    ("rate_limit", "edges_facts::test_an_address_that_the_exchange_banned_enters_nothing"),
    ("MAINTENANCE", "maintenance::test_entries_end_five_minutes_before_and_exits_go_on"),
    ("max_position_size", "desk_questions::test_does_a_limit_lowered_below_the_position_trap_it"),
    ("position_limit_usd", "holdings::test_exits_pass_resting_entries_go_and_what_fell_back_clears_itself"),
    ("max_gross_usd", "holdings::test_what_the_book_holds_together_counts_and_the_symbol_of_the_mark_takes_no_more"),
    ("max_net_usd", "holdings::test_what_the_book_holds_together_counts_and_the_symbol_of_the_mark_takes_no_more"),
    ("max_leverage", "holdings::test_a_book_may_be_at_its_leverage"),
)  # fmt: skip
"""Transient causes: reason, test. Their limit and the mode that they bring refuse alike; both are gone when nothing is noted."""

WATCHED: tuple[tuple[str, str], ...] = (
    ("daily_loss", "losses::test_loss_halts_when_it_reaches_the_limit"),
    ("weekly_loss", "losses::test_loss_halts_when_it_reaches_the_limit"),
    ("drawdown", "losses::test_loss_halts_when_it_reaches_the_limit"),
    ("consecutive_losses", "losses::test_losing_streak_halts_and_a_win_ends_it"),
    ("latency", "limits::test_latency_is_the_p95_of_twenty"),
    ("error_rate", "limits::test_error_rate_needs_ten_requests"),
)  # fmt: skip
"""Limits that halt the book: name, test."""

LINES: tuple[tuple[str, str, str, str, str, str], ...] = (
    ("a limit that raises refuses", "limit", "services.risk.verdict:guarded", "LimitUse(Reason.EXCEPTION, ONE, ZERO), True", "LimitUse(Reason.EXCEPTION, ONE, ZERO), False", "limits::test_standing_limit_that_raises_halts"),
    ("poison is refused", "limit", "services.risk.entries:is_wellformed", "all(map(Decimal.is_finite, numbers))", "True", "core::test_poison_is_refused_and_counted"),
    ("stages of an allowed strategy", "limit", "services.risk.entries:is_allowed", 'and state.stage.partition("-")[0] in allow.stages', "", "limits::test_refusal_lists_every_limit_and_names_the_first_breached"),
    ("symbols of an allowed strategy", "limit", "services.risk.entries:is_allowed", "and symbol in allow.symbols", "", "hedges::test_default_deny_is_by_leg"),
    ("a blocked model", "limit", "services.risk.entries:is_allowed", "and model not in state.blocked_models", "", "limits::test_blocked_model_is_not_allowed"),
    ("a looser settings file is ignored", "limit", "services.risk.limitfile:taken", "if is_looser(name, old, value):", "if False:", "core::test_tighter_file_is_applied_at_start_and_a_looser_one_is_not"),
    ("a deposit hides no loss", "loss", "services.risk.valuation:on_cash", "kernel.rescaled(window.base_units, before, after)", "window.base_units", "desk_questions::test_does_a_deposit_hide_a_loss"),
    ("a loss runs over midnight", "loss", "services.risk.valuation:_rolled", "if losing and equity < window.base_units:", "if False:", "desk_questions::test_is_a_loss_over_midnight_counted"),
    ("a fresh book is halted", "T3", "services.risk.reactions:_armed", "not config.auto_arm or ", "", "core::test_fresh_book_is_born_halted"),
    ("so many clearings a day", "T3", "services.risk.modes:raised", "if state.clears_today.get(scope, 0) >= clears_a_day:", "if False:", "modes::test_fourth_time_a_day_halts_until_resumed"),
    ("quiet before a clearing", "T3", "services.risk.modes:cleared", "state.now - bad_at < quiet_ms * NS_PER_MS or ", "", "modes::test_transient_cause_clears_itself_after_a_quiet_minute_and_reconciliation"),
    ("reconciled before a clearing", "T3", "services.risk.modes:cleared", "not state.reconciled or state.reconciled_at <= bad_at", "False", "modes::test_transient_cause_waits_for_reconciliation"),
    ("one loss re-base a day", "T3", "services.risk.modes:may_rebase", "or state.rebases_today == 0", "or True", "commands::test_live_needs_two_operators_and_rebases_once_a_day"),
    ("no resume while liquidating", "T3", "services.risk.commands:_standing", 'return "LIQUIDATING"', "pass", "commands::test_liquidating_is_not_resumed"),
    ("a command counts once", "seal", "services.risk.commands:decided", "if state.is_replayed:", "if False:", "commands::test_nonce_counts_once"),
    ("a command's seal expires", "seal", "services.risk.commands:_unsigned", "if event.expires_at <= state.now:", "if False:", "commands::test_resume_refused"),
    ("a command's seal is good for a day at most", "seal", "services.risk.commands:_unsigned", "if event.expires_at > state.now + LONGEST_NS:", "if False:", "commands::test_a_seal_good_for_longer_than_a_nonce_is_remembered_is_refused"),
    ("a command's seal names its book", "seal", "services.risk.commands:_unsigned", "event.place == config.place", "True", "places::test_a_seal_for_another_book_or_venue_counts_for_nothing"),
    ("nobody is his own second", "seal", "services.risk.commands:_first", "and first.operator != event.operator", "", "commands::test_in_live_raising_a_limit_needs_two_operators_and_lowering_one"),
    ("a first seal runs out", "seal", "services.risk.commands:_first", "and first.expires_at > state.now", "", "commands::test_first_signature_expires"),
    ("a first seal is of one who may sign", "seal", "services.risk.commands:_first", "and first.operator in config.operator_keys", "", "places::test_the_first_of_two_seals_is_none_when_its_operator_may_sign_no_more"),
    ("raising a limit needs two", "seal", "services.risk.commands:_limit", "refusal = _alone(state, config, event)", "pass", "commands::test_in_live_raising_a_limit_needs_two_operators_and_lowering_one"),
    ("no way up without evidence", "seal", "services.risk.commands:_stage", 'refusal = "NO_EVIDENCE"', "pass", "commands::test_stage_change"),
    ("real money stays real money", "seal", "services.risk.commands:_stage", 'refusal = "REAL_MONEY"', "pass", "places::test_real_money_never_goes_back_to_paper_where_one_operator_has_the_whole_account"),
    ("a window for other code needs two", "seal", "services.risk.commands:_upgrade", "refusal = _alone(state, config, event)", "pass", "commands::test_upgrade_window_in_live_is_opened_by_two_and_closed_by_one"),
    ("peers on other code halt", "halt", "services.risk.reactions:_strangers", "if len(set(found.values())) > 1:", "if False:", "commands::test_upgrade_window_needs_a_seal_and_ends"),
    ("a stranger's order halts", "halt", "services.risk.reactions:on_foreign", "yield from _halt(", "yield from () if body else _halt(", "core::test_facts_that_halt"),
    ("a mismatch halts", "halt", "services.risk.reactions:on_mismatch", "elif not body.healed:", "elif False:", "core::test_facts_that_halt"),
    ("a venue that was reset halts", "halt", "services.risk.reactions:on_mismatch", "if body.kind in VENUE_RESETS:", "if False:", "core::test_facts_that_halt"),
    ("a gap in a peer's stream halts", "halt", "services.risk.reactions:on_heartbeat", "if body.gap:", "if False:", "core::test_facts_that_halt"),
    ("a gap in our own streams halts", "halt", "services.risk.reactions:on_gap", "yield from _halt(", "yield from () if body else _halt(", "core::test_facts_that_halt"),
    ("signal flood", "limit", "services.risk.reactions:on_signal", "repeat is not None and flooded", "False", "poison::test_one_signal_ten_thousand_times_a_second"),
    ("fills per minute", "limit", "services.risk.reactions:on_ledger", "if count >= limit:", "if False:", "limits::test_orders_filled_a_minute_disable_the_strategy"),
    ("an approval is used once", "T6", "services.execution.core:ExecutionCore._refusal", "if intent.order_link_id in self.state.used:", "if False:", "approvals::test_it_is_used_once_also_by_a_process_that_took_over"),
    ("an approval expires", "T5", "services.execution.approvals:terms_refusal", "if now >= intent.expires_at:", "if False:", "approvals::test_it_runs_out_to_the_nanosecond"),
    ("an approval lasts so long at most", "T5", "services.execution.approvals:terms_refusal", "if intent.expires_at > at + config.longest_approval_ms * MS:", "if False:", "approvals::test_it_may_not_last_longer_than_two_seconds"),
    ("an approval is of this book", "T5", "services.execution.approvals:terms_refusal", "if intent.book != config.book:", "if False:", "approvals::test_an_approval_of_another_book_is_none_here"),
    ("an approval is of the last epoch", "T5", "services.execution.approvals:terms_refusal", "intent.epoch < epoch", "False", "approvals::test_a_writer_that_was_replaced_approves_nothing"),
    ("seal of an approval", "T5", "services.execution.approvals:verified", "seal.verify(public_key, intent)", "True", "approvals::test_one_digit_of_the_seal_voids_it"),
    ("a retired key seals nothing", "T5", "services.execution.approvals:verified", " or at >= config.seal_retired.get(intent.key_id, at + 1)", "", "approvals::test_a_rotation_overlaps_and_then_the_old_key_is_over"),
    ("a request is made of a verified approval only", "T5", "services.execution.approvals:VerifiedIntent.__init__", "if proof is not _PROOF:", "if False:", "approvals::test_a_verified_intent_cannot_be_made_by_hand"),
    ("seal of an amendment", "T5", "services.execution.approvals:amend_call", " or not seal.verify(public_key, intent)", "", "amend::test_an_amend_that_nobody_sealed_or_that_is_late_changes_nothing"),
    ("an exit is reduce-only at the exchange", "T4", "services.execution.core:ExecutionCore._refusal", '"" if approvals.reduces(intent) else "NOT_REDUCE_ONLY"', '""', "approvals::test_an_exit_that_the_venue_would_let_add_is_none"),
    ("an entry's commit needs an open gate", "T1", "services.execution.core:ExecutionCore.guards", "() if self._refusal(body, record.at) else approvals.scopes(body)", "()", "core::test_a_valid_entry_is_submitted_behind_its_guards_and_becomes_a_create_call"),
    ("halted scopes at execution", "T1", "services.execution.core:ExecutionCore._entry_refusal", "if scope in self.state.halted]", "if False]", "core::test_after_a_halt_entries_are_rejected_and_exits_pass"),
    ("a halt cancels resting entries", "T1", "services.execution.core:ExecutionCore._change_mode", "if isinstance(body, Halted) or mode in CLOSED_MODES:", "if False:", "core::test_a_halt_cancels_resting_entries_at_once_and_only_those"),
    ("no entry while the exchange hears us not", "limit", "services.execution.core:ExecutionCore._entry_refusal", "calls.budgets.silent_ms(now) or ", "", "silence::test_an_exit_takes_the_trade_socket_and_an_entry_is_turned_down"),
    ("expiry before sending", "T5", "services.execution.core:ExecutionCore.expired", "0 < pending.expires_at <= now", "False", "core::test_an_order_that_the_shell_did_not_send_is_expired"),
    ("an execution is booked once", "T6", "services.execution.state:State.is_booked", "exec_id in self.exec_ids or exec_ms <= self.forgotten_ms", "False", "core::test_the_same_execution_counts_once"),
    ("dead only after patience", "T2", "services.execution.inbound:_next_step", " and order.lookup_from >= deadline", "", "unknown::test_dead_only_after_the_last_possible_arrival_and_three_denials"),
    ("a stranger's order is told", "halt", "services.execution.inbound:see_order", "news.foreign.append(told)", "pass", "reconcile::test_an_open_order_of_a_stranger_is_reported_and_one_of_the_watchdog_is_not"),
    ("an order that came too late is cancelled", "T6", "services.execution.inbound:see_order", "pursuit.send_cancel(state, config, order)", "pass", "unknown::test_an_order_that_comes_to_life_after_it_was_given_up_is_cancelled"),
    ("a hole in a stream stops its reader", "T8", "libs.common.bus:gap", "if record.seq != expected:", "if False:", "bus::test_a_hole_in_seq_stops_before_it"),
)  # fmt: skip
"""Guards that are a line of code: name, what for, `module:function`, the line's text, what stands there without it, test."""


def _test(part: str, name: str) -> str:
    """`file::test` of a part's unit tests as a test id."""
    file, _, test = name.partition("::")
    return f"tests/unit/{part}/test_{file}.py::{test}"


def _removals() -> Iterator[Removal]:
    for name, cap, test in LIMITS:
        yield Removal(f"limit {name}", "limit", unenforced(name, *filter(None, (cap,))), _test("risk", test))
    for name, test in NOTED:
        yield Removal(f"cause {name}", "limit", unnoticed(name), _test("risk", test))
    for name, test in WATCHED:
        yield Removal(f"{name} halts", "limit", unwatched(name), _test("risk", test))
    for guard, what, place, old, new, test in LINES:
        yield Removal(guard, what, without(place, old, new), _test(place.split(".")[1], test))


REMOVALS = tuple(_removals())


def judged() -> list[Proved]:
    """Every removal in a process of its own, and all the tests with every guard in place."""
    session = _Session()
    options = [
        "-p",
        "no:terminal",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-p",
        "no:cov",
        "-o",
        "addopts=--import-mode=importlib",
    ]
    named = sorted({removal.test for removal in REMOVALS})
    pytest.main([*options, *(str(ROOT / test) for test in named)], plugins=[session])
    rows = [
        Proved(each.guard, each.what, "missed", session.answers.get(each.guard, "not asked"), each.test)
        for each in REMOVALS
    ]
    return [*rows, Proved("every guard in place", "", "no test fails", f"{session.red} fails")] if session.red else rows


class _Session:
    """A plugin: the tests are collected and run once, then a child for each removal runs its test again."""

    def __init__(self) -> None:
        self.answers: dict[str, str] = {}
        self.red = ""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        for item in session.items:
            if _fails(item):
                self.red = self.red or item.nodeid
        for removal in REMOVALS:
            items = [item for item in session.items if item.nodeid.partition("[")[0] == removal.test]
            self.answers[removal.guard] = _asked(removal, items)
        return True


def _fails(item: pytest.Item) -> bool:
    return any(report.failed for report in runtestprotocol(item, log=False, nextitem=None))


def _asked(removal: Removal, items: list[pytest.Item]) -> str:
    """What the tests say in a process without the guard."""
    pid = os.fork()
    if not pid:
        signal.alarm(CHILD_S)
        os._exit(_without(removal, items))
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return {0: "not missed", 1: "missed", 2: "the guard is not where it was", -signal.SIGALRM: "missed"}.get(
        status, f"ended by {status}"
    )


def _without(removal: Removal, items: list[pytest.Item]) -> int:
    """Exit code of the child: 0 nothing failed, 1 a test failed, 2 there is no such guard."""
    try:
        removal.remove(pytest.MonkeyPatch())
    except (LookupError, ValueError, AssertionError):
        return 2
    forget()
    for item in items:
        item.funcargs = {}  # type: ignore[attr-defined]  # as before its first run
        item._initrequest()  # type: ignore[attr-defined]
        if _fails(item):
            return 1
    return 0
