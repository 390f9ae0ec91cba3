"""Broken systems: does the solver ever call a bad solve good?

    python benchmarks/bad_solves.py

What is solved and printed is described in tests/helpers/bad_solves.py; the suite runs a part of it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from helpers.bad_solves import main

if __name__ == "__main__":
    raise SystemExit(main())
