"""The maker of mutants itself: it changes what it says, in the function that everybody holds, and nothing else."""

from __future__ import annotations

import os

from services.risk import kernel
from tests.model.mutation import apply, mutants_of


def test_mutants_of_the_kernel_are_the_same_each_time():
    names = [mutant.key for mutant in mutants_of("services.risk.kernel")]
    assert names == [mutant.key for mutant in mutants_of("services.risk.kernel")]
    assert len(set(names)) == len(names) > 40


def test_a_mutant_changes_the_function_that_others_hold_already():
    held = kernel.room
    swapped = next(m for m in mutants_of("services.risk.kernel") if m.function == "room" and m.what == "max -> min")
    child = os.fork()
    if child == 0:
        apply(swapped)
        os._exit(7 if held(5, 3) == 0 and kernel.lots_for(10, 3) == 3 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert kernel.room(5, 3) == 2
