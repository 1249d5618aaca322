"""The command line of nmt with the mutant that the environment names, if any.

usage: python -m tests.support.promises.mutants.mutated_command_line ARGS
"""

from __future__ import annotations

import os

from tests.support.promises.mutants.catalogue import MUTANT_VARIABLE, MUTANTS

if __name__ == "__main__":
    if name := os.environ.get(MUTANT_VARIABLE):
        MUTANTS[name].install()
    from nmt.cli.app import main

    main()
