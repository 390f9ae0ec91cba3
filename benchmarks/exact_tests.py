"""The program against closed forms: what they say, what the program gives, the error, and its order of convergence.

    python benchmarks/exact_tests.py

Formulas stand for infinite metals and leave out the heat that spin currents carry; the exact stack (`layered_stack`)
neglects nothing. "order" is log2 of the ratio of the errors from the exact stack on cells halved once, order 2, uniform
cells; a scheme of order p gives 2p. A dash: both errors are round-off. Then balances and relations that hold on any
grid. One minute.
"""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from helpers import exact_cases, heated
from helpers.exact_cases import Case
from thermospin import model
from thermospin.signals.evaluate import measure

TOLERANCE = 2e-11
ROUND_OFF = 1e-9


def value(case: Case, order: int, halved: int = 0) -> float:
    """The quantity of a case as the program computes it."""
    harmonic, part = case.signal
    found = measure(case.model(order, halved), tolerance=TOLERANCE).experiments
    return case.quantity(found[case.experiment][harmonic][part])


def closed_forms() -> None:
    """Print the table of closed forms."""
    print(f"{'test':42} {'formula':>14} {'computed':>14} {'error':>9} {'from stack':>10} {'order':>6}  unit")
    for case in exact_cases.cases():
        exact, found = case.exact(), value(case, 3)
        errors = [abs(value(case, 2, n) / exact - 1) for n in (0, 1)]
        order = f"{np.log2(errors[0] / errors[1]):6.2f}" if errors[1] > ROUND_OFF else f"{'-':>6}"
        off = (found / case.formula - 1, found / exact - 1)
        print(
            f"{case.name:42} {case.formula:14.6e} {found:14.6e} {off[0]:9.1e} {off[1]:10.1e} {order}  {case.unit}",
            flush=True,
        )


def relations() -> None:
    """Print balances and reciprocity of the heated pillar."""
    port = ("bottom", "top")
    parts = ("cap+", "cap-", "oxide")
    made = [
        heated.experiment("V/W", power={"hot": 1.0}, voltage=port),
        heated.experiment("T/A", current=port, temperature=("hot",)),
        heated.experiment("charge", current=port, through=heated.through("charge", "N", "F2")),
        *[heated.experiment(name, power={"hot": 1.0}, through=heated.through("heat", "hot", name)) for name in parts],
    ]
    found = measure(model.build(heated.device(*made), cells=250, order=2), tolerance=TOLERANCE).experiments
    rows = {name: row["R1"] for name, row in found.items()}
    print(f"\n{'heated pillar':42} " + " ".join(f"{state:>9}" for state in heated.STATES))

    def line(name: str, errors: dict[str, float]) -> None:
        print(f"{name:42} " + " ".join(f"{errors[state]:9.1e}" for state in heated.STATES))

    onsager = {s: rows["T/A"][s] / (300 * rows["V/W"][s]) - 1 for s in heated.STATES}
    line("H1 R_TV/(T0 R_VT) - 1", onsager)
    line("H3 heat out of the heater per watt - 1", {s: sum(rows[n][s] for n in parts) - 1 for s in heated.STATES})
    line("H4 charge over an interface per ampere - 1", {s: rows["charge"][s] - 1 for s in heated.STATES})
    line("all magnets reversed, V/W", {s: rows["V/W"][s] / rows["V/W"][t] - 1 for s, t in _TURNED.items()})


_TURNED = {"P": "ALL", "AP": "PA", "PA": "AP", "ALL": "P"}

if __name__ == "__main__":
    closed_forms()
    relations()
