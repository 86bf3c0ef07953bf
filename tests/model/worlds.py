"""The worlds that the search goes through. Each stresses other theorems; together they use every letter."""

from __future__ import annotations

from tests.model.letters import Letters

VENUE = ("part", "part_old", "fill", "fill_old", "cancel", "cancel_old", "late", "adl", "adl_all")
SIDES = ("long_a", "short_a", "exit_a", "short_b", "exit_b", "long_c")


def worlds() -> list[Letters]:
    """What `make prove` searches. Each stresses other theorems; together they use every letter."""
    return [
        Letters("exposure", (*SIDES, "exit_c", *VENUE, "dead", "again", "price")),
        Letters(
            "modes",
            ("long_a", "exit_a", "short_b", "fill", "cancel", "adl_all", "price", "time", "halt", "halt_symbol", "halt_strategy", "pause",
             "feed", "resume", "forge", "restart", "reconcile", "tighten", "day"),
            budgets={"time": 3, "tighten": 1, "day": 1},
        ),
        Letters(
            "liquidation",
            ("long_a", "exit_a", "short_b", "part", "fill", "fill_old", "cancel", "adl", "price", "time", "flatten", "flat", "resume", "restart",
             "reconcile"),
            budgets={"time": 4},
            flatten_on_halt=True,
        ),
        Letters(
            "live",
            ("long_a", "exit_a", "fill", "cancel", "price", "halt", "resume_alice", "resume_bob", "forge", "restart", "reconcile", "time", "day"),
            budgets={"time": 2, "day": 1},
            operators=2,
            auto_arm=False,
            stage="full",
        ),
    ]  # fmt: skip
