"""Mutants that change nothing anybody could notice, each with its reason. Keys are those of `Mutant.key`."""

from __future__ import annotations

EQUIVALENT: dict[str, str] = {}
