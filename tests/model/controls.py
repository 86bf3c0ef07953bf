"""The controls that a desk is asked for, the theorems, and what shows each: test ids, or methods of `make prove`.

Names of controls follow SEC 15c3-5, MiFID II RTS 6, FIA 2024 and PTG 2010. An empty `shown` is a control that nothing shows; it
stands on the page as such.
"""

from __future__ import annotations

import msgspec


class Theorem(msgspec.Struct, frozen=True):
    name: str
    says: str
    methods: tuple[str, ...]
    """Of `make prove`: search, z3, crosshair, tlc, runs; or a test id."""


class Control(msgspec.Struct, frozen=True):
    name: str
    title: str
    demanded: str
    theorems: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()
    missing: str = ""
    """What of it is not built or not shown; said on the page."""


RISK, PROPERTY, EXECUTION = "tests/unit/risk", "tests/property", "tests/unit/execution"
STATEFUL = "tests/property/test_gate.py"

THEOREMS: tuple[Theorem, ...] = (
    Theorem(
        "T1",
        "No entry is approved, and none is submitted, in a commit between Halted and its Resumed.",
        ("search", "tlc", "runs", f"{STATEFUL}::TestGate", f"{STATEFUL}::test_a_commit_without_the_guard_is_found",
         f"{PROPERTY}/test_risk.py::test_halt_is_sticky"),
    ),
    Theorem(
        "T2",
        "max(position, 0) + open buys and max(-position, 0) + open sells stay within the limit under every interleaving of "
        "approvals, partial and late fills, ends, duplicates, losses, ADL, liquidation, restart.",
        ("search", "z3", "crosshair", "tlc", "runs", f"{PROPERTY}/test_risk.py::test_sided_rule_holds_under_every_interleaving"),
    ),
    Theorem(
        "T3",
        "A halt stands over every restart and replay until a valid seal, in live stages two operators', has named it.",
        ("search", "tlc", "runs", f"{RISK}/test_commands.py::test_live_needs_two_operators_and_rebases_once_a_day"),
    ),
    Theorem(
        "T4",
        "Below NORMAL a valid reduce-only exit passes, and none grows the position.",
        ("search", "z3", "crosshair", "runs", f"{PROPERTY}/test_risk.py::test_valid_exits_always_pass_in_a_halt"),
    ),
    Theorem(
        "T5",
        "Every create request matches one approval, sealed by risk and submitted in a commit before it.",
        ("tlc", "runs", f"{EXECUTION}/test_approvals.py", f"{EXECUTION}/test_core.py::test_a_bad_approval_is_rejected_and_never_sent"),
    ),
    Theorem(
        "T6",
        "At most one acceptance an approval under retry, crash and failover.",
        ("tlc", "runs", f"{EXECUTION}/test_core.py::test_a_used_id_is_turned_down_and_leaves_the_order_that_bears_it_alone",
         f"{EXECUTION}/test_unknown.py"),
    ),
    Theorem(
        "T7",
        "The same inputs give the same bytes.",
        ("runs", "tests/scenarios/test_log.py::test_t7_the_same_seed_gives_the_same_bytes", f"{RISK}/test_core.py::test_snapshot_decides_alike",
         "tests/e2e/test_crashes.py"),
    ),
    Theorem("T8", "Every signal gets one decision, every approval comes to one end.", ("tlc", "runs")),
)  # fmt: skip

CONTROLS: tuple[Control, ...] = (
    Control("C1", "Price collar", "RTS 6 15(1a), PTG 2010", (), (f"{RISK}/test_limits.py::test_entry_collar", f"{RISK}/test_limits.py::test_collar_without_a_mark_divides_nothing", f"{RISK}/test_exits.py::test_exit_is_reduce_only_at_the_exit_collar")),
    Control("C2", "Largest order by value and size", "RTS 6 15(1b, c), 15c3-5(c)(1)(ii)", (), (f"{RISK}/test_limits.py::test_caps_shrink_to_the_limit", f"{RISK}/test_limits.py::test_no_room_is_refused_by_its_limit")),
    Control("C3", "Message limit, reserved share for cancels and exits", "RTS 6 15(1d)", (), (f"{EXECUTION}/test_core.py::test_creates_beyond_the_budget_wait_and_exits_have_a_reserved_share", f"{RISK}/test_limits.py::test_order_rate_counts_entries_of_the_last_second")),
    Control("C4", "Every order sent counts at once", "RTS 6 15(2)", ("T2",), (f"{RISK}/test_exits.py::test_reservation_lasts_until_proven", f"{RISK}/test_limits.py::test_exposure_is_book_wide_and_counts_open_orders")),
    Control("C5", "Repeated execution is throttled until a person acts", "RTS 6 15(3), Knight 2012", (), (f"{RISK}/test_limits.py::test_repeated_words_disable_the_strategy", f"{RISK}/test_limits.py::test_orders_filled_a_minute_disable_the_strategy")),
    Control("C6", "Market and capital limits before the order", "RTS 6 15(4), 15c3-5(c)(1)(i)", ("T2",), (f"{RISK}/test_limits.py::test_verdict_lists_every_limit_in_order", f"{RISK}/test_limits.py::test_leverage_without_capital_is_none")),
    Control("C7", "Unauthorised instrument, strategy or stage", "RTS 6 15(5)", (), (f"{RISK}/test_limits.py::test_allow_list_denies_by_default", f"{RISK}/test_limits.py::test_blocked_model_is_not_allowed")),
    Control("C8", "No override; limits change by signed events", "RTS 6 15(6)", ("T3",), (f"{RISK}/test_commands.py::test_limit_change_refused", f"{RISK}/test_commands.py::test_in_live_raising_a_limit_needs_two_operators_and_lowering_one")),
    Control("C9", "Kill switch by one decision", "RTS 6 12, PTG 2010", ("T1",), (f"{RISK}/test_commands.py::test_halt_needs_no_key_and_no_clock", f"{RISK}/test_exits.py::test_flatten_slices_until_the_exchange_says_flat", f"{EXECUTION}/test_core.py::test_a_halt_cancels_resting_entries_at_once_and_only_those", "tests/integration/killswitch")),
    Control("C10", "A halt does not clear itself", "RTS 6 15(3), FIA 2024", ("T3",), (f"{RISK}/test_modes.py::test_sticky_blocks_and_strangers_do_not_clear",)),
    Control("C11", "Daily and weekly loss, drawdown, losing streak", "PTG 2010", (), (f"{RISK}/test_losses.py",)),
    Control("C12", "Monitoring apart from the trader, alerts within 5 s", "RTS 6 16(2), 16(5)", (), ("tests/unit/monitor/test_core.py", "tests/deploy/test_observability.py", "tests/scenarios/test_outages.py::test_20_an_order_of_a_strangers_halts_within_five_seconds"), "monitor reads the same log; it keeps no ledger of its own from an exchange key of its own"),
    Control("C13", "Reconciliation with the venue", "RTS 6 17(1, 3, 4)", (), (f"{EXECUTION}/test_reconcile.py",)),
    Control("C14", "Duplicate orders", "15c3-5(c)(1)(ii)", ("T6",), (f"{EXECUTION}/test_core.py::test_a_used_id_is_turned_down_and_leaves_the_order_that_bears_it_alone", f"{RISK}/test_limits.py::test_duplicate_signal")),
    Control("C15", "Self-match prevention", "CME", (), (f"{RISK}/test_limits.py::test_self_match_across_strategies", f"{RISK}/test_exits.py::test_exit_clears_own_resting_orders_out_of_its_way")),
    Control("C16", "Velocity and spread", "CME, PTG 2010", (), (f"{RISK}/test_modes.py::test_every_transient_cause",)),
    Control("C17", "Cancel on disconnect", "PTG 2010, CME", (), (f"{EXECUTION}/test_watchdog.py", "tests/integration/watchdog/test_watchdog.py")),
    Control("C18", "Stale data", "PTG 2010, RTS 6 14(2b)", (), (f"{RISK}/test_modes.py::test_feed_that_stays_down_does_not_clear", f"{RISK}/test_limits.py::test_expired_signal")),
    Control("C19", "Direct and exclusive control", "15c3-5(d), RTS 6 20", ("T5",), (f"{RISK}/test_app.py::test_every_approval_is_sealed_with_the_writers_epoch", "tests/integration/test_access.py")),
    Control("C20", "Controlled deployment", "RTS 6 5-8, Knight 2012", (), (f"{RISK}/test_commands.py::test_upgrade_window_needs_a_seal_and_ends", f"{RISK}/test_core.py::test_facts_that_halt")),
    Control("C21", "Continuity and shutdown", "RTS 6 14", ("T3", "T6"), ("tests/e2e/test_crashes.py", "tests/integration/test_runtime.py")),
    Control("C22", "Twice the highest message rate", "RTS 6 10", (), ("tests/integration/killswitch/test_flood.py", f"{RISK}/test_poison.py::test_one_signal_ten_thousand_times_a_second"), "how long a flood takes is the machine's: make bench measures it"),
    Control("C23", "Evidence that is generated", "RTS 6 9, 15c3-5(e)", (), ("tests/model/test_assurance.py", "tests/model/test_trace.py", "tests/model/test_runs.py")),
    Control("C24", "Records that show a change", "RTS 6 28, 17a-4(f)", ("T7",), ("tests/unit/common/test_archive.py",)),
    Control("C25", "Least access", "RTS 6 18", ("T5",), ("tests/deploy/test_keys.py", f"{EXECUTION}/test_terms.py", "tests/integration/test_access.py::test_the_matrix_of_users_keys_and_commands_is_the_table")),
)  # fmt: skip


def named_tests() -> list[str]:
    """Every test id of the two tables, once, in order."""
    named = [shown for control in CONTROLS for shown in control.shown]
    named += [method for theorem in THEOREMS for method in theorem.methods if method.startswith("tests/")]
    return list(dict.fromkeys(named))
