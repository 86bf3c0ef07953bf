"""What risk's refusals of a command mean, and what to do about them."""

from __future__ import annotations

SAID: dict[str, str] = {
    "SECOND_OPERATOR": "one seal is kept, a second operator's is needed: the same command with another key makes it so",
    "SEAL": "expected the seal of a key in [risk.operator_keys] under the operator's own name, was none or another's; name --operator and --key",
    "OTHER_BOOK": "expected a seal for this venue and book, was one for another; seal it under this book's settings (venue.rest_url, bus.book)",
    "EXPIRED": "expected a seal that is still good, was one that ran out; seal it anew, with --valid-min for longer",
    "EXPIRY_TOO_FAR": "expected a seal good for a day at most, was longer; seal it anew with a smaller --valid-min",
    "DUPLICATE": "expected a fresh nonce, was one seen before: a sealed command counts once; seal it anew",
    "SCOPE": "expected book, symbol:X that is traded or strategy:Y that is allowed, was another; to flatten, the book alone",
    "UNKNOWN_HALT": "expected a halt that stands, was none or one resumed already; tidegate status lists them",
    "LIQUIDATING": "expected the book flat first, was still closing positions; wait for FlatConfirmed (tidegate positions)",
    "ONE_REBASE_A_DAY": "expected one loss forgiven a UTC day with real money, was the second; wait for tomorrow",
    "UNKNOWN_LIMIT": "expected the name of a limit, was none; tidegate limit show lists them",
    "VALUE": "expected a value that the limit can have, was another; a fraction as 0.02, a sum as 50000, at most 120 minutes of a window",
    "NO_CHANGE": "expected another value, was the one in force; tidegate limit show",
    "UNKNOWN_STAGE": "expected a stage of the ladder, was another; tidegate stage promote --help",
    "NO_EVIDENCE": "a stage with real money needs the evidence of the stage before, and this version does not compute it yet",
    "REAL_MONEY": "expected a stage with real money for a book that has it, was paper; demote to staged, or halt",
}


def refusal(reason: str) -> str:
    """One sentence about a CommandRefused."""
    return f"risk refused the command: {reason}; {SAID.get(reason, 'see tidegate status')}"
