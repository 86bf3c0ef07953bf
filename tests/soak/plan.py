"""What is done to whom: every intent belongs to a class, and its order link id says which, so that the fault menu finds it."""

from __future__ import annotations

import json
import random

import msgspec


class Class(msgspec.Struct, frozen=True):
    """`share` of all intents; `fault`: of the simulator's menu; `kill`: where in its step execution dies."""

    code: str
    text: str
    share: float
    fault: dict[str, object] | None = None
    kill: str = ""
    doubled: bool = False


CREATE = {"path": "/v5/order/create"}
CLASSES = (
    Class("aa", "ambiguous: placed, answered 10000", 0.008, {"kind": "ambiguous", "arrives": "now", "answer": 10000}),
    Class("ab", "ambiguous: placed, answered 10016", 0.004, {"kind": "ambiguous", "arrives": "now", "answer": 10016}),
    Class("ac", "ambiguous: placed, never answered", 0.008, {"kind": "ambiguous", "arrives": "now", "answer": "timeout"}),
    Class("ad", "ambiguous: arrives 4 s late, 10000", 0.008, {"kind": "ambiguous", "arrives": "late", "answer": 10000}),
    Class("ae", "ambiguous: arrives 4 s late, silence", 0.008, {"kind": "ambiguous", "arrives": "late", "answer": "timeout"}),
    Class("af", "ambiguous: never arrives, 10000", 0.007, {"kind": "ambiguous", "arrives": "never", "answer": 10000}),
    Class("ag", "ambiguous: never arrives, silence", 0.007, {"kind": "ambiguous", "arrives": "never", "answer": "timeout"}),
    Class("da", "request doubled on the way", 0.010, doubled=True),
    Class("ka", "killed before the commit", 0.0025, kill="decided"),
    Class("kb", "killed after the commit, unsent", 0.0025, kill="committed"),
    Class("kc", "killed with the request on its way", 0.0025, kill="sent"),
    Class("kd", "killed with the answer in hand", 0.0025, kill="answered"),
    Class("sa", "its stream messages come 2 to 4 times", 0.005, {"kind": "duplicate", "times": 3}),
    Class("sb", "its stream messages are overtaken", 0.005, {"kind": "reorder", "ms": 500}),
    Class("sc", "its stream messages are lost", 0.005, {"kind": "drop"}),
    Class("fa", "fills in three pieces", 0.005, {"kind": "partial", "fractions": [0.3, 0.3, 0.4], "gap_ms": 300}),
    Class("fb", "Filled told twice", 0.005, {"kind": "two_filled"}),
    Class("ra", "refused unread 10006", 0.002, {"kind": "refuse", "code": 10006}),
)  # fmt: skip
CLEAN = Class("cc", "nothing", 1.0)
BY_CODE = {kind.code: kind for kind in (*CLASSES, CLEAN)}


def draw(dice: random.Random) -> Class:
    value = dice.random()
    for kind in CLASSES:
        value -= kind.share
        if value < 0:
            return kind
    return CLEAN


def link_id(kind: Class, index: int) -> str:
    """36 characters, `tg-<class>-<index>`."""
    return f"tg-{kind.code}-{index:030d}"


def index_of(link: str) -> int:
    """The index of an intent; -1 for an id of other making (a stop)."""
    return int(link[6:]) if link.startswith("tg-") and len(link) == 36 else -1


def faults_document(seed: int) -> bytes:
    """For POST /sim/faults: each class' fault, for its orders alone."""
    faults = []
    for kind in CLASSES:
        if kind.fault is not None:
            match = {"orderLinkId": f"tg-{kind.code}-"}
            if kind.fault["kind"] in ("ambiguous", "refuse"):
                match |= CREATE
            faults.append({**kind.fault, "match": match})
    return json.dumps({"seed": seed, "faults": faults}).encode()
