"""docs/assurance.md, written from docs/assurance.json and the tables of controls and theorems."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from tests.model.controls import CONTROLS, THEOREMS
from tests.model.equivalent import EQUIVALENT
from tests.model.mutation import ROOT
from tests.model.results import GOAL, Proved, Results

JSON, PAGE = ROOT / "docs/assurance.json", ROOT / "docs/assurance.md"
METHODS = {
    "search": "exhaustive search of the shipped core",
    "guards": "each guard removed",
    "z3": "Z3 over the shipped kernel",
    "crosshair": "CrossHair over the shipped kernel",
    "tlc": "TLA+ model of the protocol, by TLC",
    "runs": "runs of the system under the trace checker, and played again",
    "tests": "named tests",
    "mutants": "mutants of the risk core",
}
HEAD = """# Assurance

What is claimed, what shows it, and what came out when it was last run. `make prove` writes this page from its results; nothing
on it is typed by hand but the tables of claims in `tests/model/controls.py`.
"""
BOUNDS = """## What each method covers, and what it does not

- **Search.** The shipped `decide` and `evolve`, every sequence of each world's letters up to the depth shown, one symbol, three
  strategies, a limit of three lots, one price of fills, two of the mark. It says nothing of longer sequences, of other numbers, of two symbols
  at once, of sizes in money. Memory of rates and repetition is erased: those limits only refuse entries, so more behaviour is searched than
  the core has. Budgets on the passing of time, a tightened limit and a new day are part of the bound.
- **Guards.** Each is taken out of the shipped code alone and must then be missed: by the search where it is for T1 to T4 in the core, else by a test of it; the
  gate's own, in Lua, by `tests/property/test_gate.py` on a real server; the protocol's by TLC. Guards that stand behind one another are removed together.
- **Z3.** The kernel's integer functions as shipped, run path by path on symbols: all integers, any number of steps, by induction. It says nothing
  of the code that calls them; that is what the search and the property tests are for.
- **CrossHair.** The same functions under Python's own semantics; a second engine, not a wider claim.
- **TLC.** A model, written by hand from the code: two executors, one or two entries, takeovers, lost and late packets, partial fills, ADL, halts
  and resumes, a forged and a replayed approval, within the bounds named. All its states, but its faithfulness is argued by the gate's and runtime's tests and by
  the trace checker, not proved. Its exchange accepts an order twice when it comes twice, which Bybit does not.
- **Runs.** The five cores against the simulated exchange in one process under faults, crashes, an ADL, a halt, a resume and a liquidation, by seed, and one
  `tidegate demo` with real processes and a real server. A checker that shares no code with risk or execution reads their logs (`python -m tests.model.trace` does
  it for any finished run); every seed is run twice, every journal is taken again by fresh cores. It says nothing of what did not happen in these runs.
- **Mutants.** Changes inside functions of the risk core: comparisons, arithmetic, constants, conditions, statements left out. Not tables, texts,
  defaults. A mutant asks the tests that enter its function, the quickest first, as long as they take 6 s in sum.
"""


def read() -> Results:
    return msgspec.json.decode(JSON.read_bytes(), type=Results) if JSON.is_file() else Results()


def write(results: Results) -> None:
    JSON.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    PAGE.write_text(text(results))


def text(results: Results) -> str:
    return "\n".join(_lines(results)) + "\n"


def _lines(results: Results) -> Iterator[str]:
    yield HEAD
    yield f"Last run {results.date}, commit {results.commit}, on {results.machine}.\n"
    yield "| method | result | seconds | when |"
    yield "| --- | --- | --- | --- |"
    for name, title in METHODS.items():
        told, when = results.told.get(name, "not run"), results.when.get(name, "")
        yield f"| {title} | {told} | {results.seconds.get(name, '')} | {when} |"
    faults = results.faults()
    yield (
        "\n**Not shown:** " + "; ".join(faults) + "\n" if faults else "\nEverything that was run came out as claimed.\n"
    )
    yield "## Theorems\n"
    yield "| theorem | says | shown by | last result |"
    yield "| --- | --- | --- | --- |"
    for theorem in THEOREMS:
        shown = "<br>".join(_method(results, theorem.name, method) for method in theorem.methods)
        named = ", ".join(f"`{method.rpartition('/')[2]}`" if "/" in method else method for method in theorem.methods)
        yield f"| {theorem.name} | {theorem.says} | {named} | {shown} |"
    yield "\n## Controls\n"
    yield "| control | demanded by | theorem | test | last result |"
    yield "| --- | --- | --- | --- | --- |"
    for control in CONTROLS:
        tests = "<br>".join(f"`{name}`" for name in control.shown) or "none"
        outcome = "<br>".join(results.tests.get(name, "not run") for name in control.shown) or "**not shown**"
        missing = f"<br>missing: {control.missing}" if control.missing else ""
        yield f"| {control.name} {control.title} | {control.demanded} | {', '.join(control.theorems)} | {tests}{missing} | {outcome} |"
    yield ""
    yield BOUNDS
    yield from _search(results)
    yield from _proved("Guards of the core, removed one by one under the search", results.guards)
    yield from _proved("Other guards, removed one by one under their tests", results.removals)
    yield from _proved("Obligations (Z3)", results.z3)
    yield from _proved("Contracts (CrossHair)", results.crosshair)
    yield from _proved("Protocol (TLC)", results.tlc)
    yield from _proved("Runs", results.runs)
    yield from _mutants(results)


def _method(results: Results, theorem: str, method: str) -> str:
    """What one method said of one theorem."""
    match method:
        case "search":
            return f"{sum(each.transitions for each in results.search):,} transitions: " + (
                "broken" if any(each.broken.startswith(theorem) for each in results.search) else "holds"
            )
        case "z3" | "crosshair" | "tlc" | "runs":
            mine: list[Proved] = [each for each in getattr(results, method) if theorem in each.theorem]
            told = f"{method}: {sum(each.is_right for each in mine)} of {len(mine)} as expected"
            return told if not any(each.answer.startswith("not run") for each in mine) else f"{method}: not run"
        case _:
            return results.tests.get(method, "not run")


def _search(results: Results) -> Iterator[str]:
    yield "## Search\n"
    yield "| world | letters | depth searched whole | transitions | situations | came up |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for each in results.search:
        seen = ", ".join(f"{what} {count:,}" for what, count in sorted(each.seen.items()))
        yield f"| {each.world} | {each.letters} | {each.depth} | {each.transitions:,} | {each.states:,} | {each.broken or seen} |"
    yield ""


def _proved(title: str, rows: list[Proved]) -> Iterator[str]:
    yield f"## {title}\n"
    yield "| what | theorem | expected | answer | detail |"
    yield "| --- | --- | --- | --- | --- |"
    for each in rows:
        yield f"| {each.name} | {each.theorem} | {each.expected} | {each.answer[:160]} | {each.detail} |"
    yield ""


def _mutants(results: Results) -> Iterator[str]:
    score, hunted = results.score()
    yield "## Mutants\n"
    yield f"{score:.1%} of {hunted} killed (goal {GOAL:.0%}); {results.sampled}.\n"
    yield "| module | mutants | killed | survivors | equivalent |"
    yield "| --- | --- | --- | --- | --- |"
    modules: dict[str, list[int]] = {}
    alive: list[str] = []
    for name, function in results.functions.items():
        row = modules.setdefault(name.split(".")[2], [0, 0, 0])
        same = [key for key in function.survivors if f"{name}#{key}" in EQUIVALENT]
        alive += [f"{name}#{key}" for key in function.survivors if key not in same]
        for i, count in enumerate((function.mutants, len(function.survivors) - len(same), len(same))):
            row[i] += count
    for module, (count, survivors, same_count) in sorted(modules.items()):
        yield f"| {module} | {count} | {count - survivors - same_count} | {survivors} | {same_count} |"
    yield "\nSurvivors that are not excused:\n" if alive else ""
    yield from (f"- `{key}`" for key in alive)
    yield "\nMutants that change nothing anybody could notice:\n"
    yield from (f"- `{key}`: {reason}" for key, reason in EQUIVALENT.items())
