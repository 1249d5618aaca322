"""The command line with a mutant planted, if the environment names one: python planted.py ARGS."""

from __future__ import annotations

import os

from mutants import MUTANT_VARIABLE, MUTANTS

if __name__ == "__main__":
    if name := os.environ.get(MUTANT_VARIABLE):
        MUTANTS[name].plant()
    from nmt.cli.app import main

    main()
