"""The errors of Tidegate, and what the process that meets one exits with.

TidegateError                     1  something failed; the message says where and what to do
├── UsageError                    2  the caller's fault: arguments, configuration, a bad tape
│   ├── SettingsError             2  every violation of the configuration at once
│   └── TapeError                 2  a market data file that cannot be played
├── HaltedError                   3  the book is halted (only for verbs that report it)
├── DivergedError                 4  a replay or a verification found a difference
├── UnreachableError              5  bus or exchange cannot be reached
└── StepError                    75  the runtime must leave the process and be restarted
    ├── FencedError              75  a newer instance took over
    └── GapError                 75  an input stream misses an entry
"""

from __future__ import annotations

from typing import ClassVar


class TidegateError(Exception):
    """Base; its text is one sentence for a person: what was expected, what came, what to do."""

    exit_code: ClassVar[int] = 1


class UsageError(TidegateError):
    exit_code = 2


class SettingsError(UsageError):
    pass


class TapeError(UsageError):
    pass


class HaltedError(TidegateError):
    exit_code = 3


class DivergedError(TidegateError):
    exit_code = 4


class UnreachableError(TidegateError):
    exit_code = 5


class StepError(TidegateError):
    exit_code = 75


class FencedError(StepError):
    pass


class GapError(StepError):
    pass
