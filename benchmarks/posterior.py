"""What a posterior costs, and whether covariance, profile and posterior agree.

    python benchmarks/posterior.py [--device slachter2010] [--data slachter2010] [--cells N] [--order P] [--true]

Fit, profiles and 4 x 1000 NUTS draws on the emulator; then what a draw on the model itself would cost, from the time of
one evaluation with gradient and the leapfrog steps that the sampler took. --true samples a small spin valve itself (200
draws of each of 2 chains) and on its emulator; itself with each chain in a program of its own, as the package does on a
CPU, and all in one.
"""

from __future__ import annotations

import argparse
import time

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

from coverage import FREE, SIGNALS, device

from thermospin import inverse
from thermospin.data import rows as data
from thermospin.data.rows import Row
from thermospin.device.reader import load
from thermospin.inference import posterior, profiles
from thermospin.inference.nuts import draw
from thermospin.inference.result import FitResult
from thermospin.model import build
from thermospin.signals import evaluate


def compare(result: FitResult, draws: posterior.Posterior) -> None:
    """Half-widths of 68 % by each road, in units of the covariance's standard deviation."""
    limits = {profile.name: profile for profile in profiles.profile(result)}
    print(f"{'parameter':<14} {'std':>11} {'profile':>15} {'posterior':>15} {'R-hat':>7} {'draws':>6}")
    low, high = draws.interval()
    for k, (name, each) in enumerate(result.parameters.items()):
        ends = np.array(limits[name].limits["68 %"]) - each.value
        drawn = np.array([low[k], high[k]]) - each.value
        text = [f"{a / each.std:+.2f} {b / each.std:+.2f}" for a, b in (ends, drawn)]
        state = f"{draws.r_hat[k]:>7.4f} {draws.effective[k]:>6.0f}"
        print(f"{name:<14} {each.std:>11.3g} {text[0]:>15} {text[1]:>15} {state}")


def on_device(arguments: argparse.Namespace) -> None:
    """A shipped or given device with its data."""
    loaded = load(arguments.device)
    rows = data.load(arguments.data, loaded)
    model = build(loaded, cells=arguments.cells, order=arguments.order)
    began = time.perf_counter()
    result = inverse.fit(model, rows)
    fitted = time.perf_counter() - began
    began = time.perf_counter()
    emulator = posterior.emulate(result)
    made = time.perf_counter() - began
    draws = posterior.sample(result, 1000, emulator=emulator)
    print(f"{loaded.name}, {model.unknowns} unknowns: fit {fitted:.0f} s, {result.evaluations} evaluations")
    cost = f"{emulator.evaluations} evaluations, {made:.0f} s, off by {emulator.error:.2g} std"
    print(f"emulator: {cost}; NUTS {draws.seconds:.0f} s")
    print(f"converged: {draws.converged}")
    compare(result, draws)
    each = made / emulator.evaluations
    print(
        f"on the model itself: {each:.2g} s for values and Jacobian, {draws.steps:.1f} leapfrog steps a draw: about "
        f"{1000 * draws.steps * each / 3600:.1f} h for a chain of 1000 draws"
    )


def itself() -> None:
    """A small spin valve: its own signals, differentiated through the solver, against its emulator."""
    valve = device("near")
    model = build(valve, cells=200, order=1)
    truth = {name: value for name, value in valve.parameters().items() if name in FREE[:3]}
    values = evaluate.evaluate(model, truth, SIGNALS, ()).values
    rng = np.random.default_rng(0)
    rows = [
        Row(experiment, signal, float(value * (1 + 0.05 * rng.standard_normal())), float(0.05 * abs(value)))
        for (experiment, signal), value in zip(SIGNALS, values, strict=True)
    ]
    result = inverse.fit(model, rows, free=FREE[:3], options=inverse.FitOptions(grid_errors=False))

    def predicted(values: dict) -> object:
        import jax.numpy as jnp

        found = evaluate.predict(model, values)
        pairs = [(experiment, *signal.split(".")) for experiment, signal in SIGNALS]
        return jnp.stack([found[experiment][harmonic][part] for experiment, harmonic, part in pairs])

    ways = [
        ("emulator", False, {}),
        ("model itself", True, {"model": predicted}),
        ("model itself, one program", False, {"model": predicted}),
    ]
    for label, apart, options in ways:
        seen: list[float] = []
        posterior.draw = lambda *given, way=apart, **named: draw(*given, **named | {"apart": way})
        draws = posterior.sample(
            result, 200, chains=2, warmup=100, progress=lambda _, seen=seen: seen.append(time.perf_counter()), **options
        )
        spread = " ".join(
            f"{name} {std / each.std:.3f}"
            for (name, each), std in zip(result.parameters.items(), draws.stds, strict=True)
        )
        cost = f"{draws.evaluations} evaluations, {draws.seconds:.0f} s"
        if options:  # the first steps are compiled, the last ones not told of
            steps = 10 * (len(seen) - 2)
            cost += f", {1e3 * (seen[-1] - seen[1]) / steps / 2:.0f} ms a draw after compilation"
        print(f"{model.unknowns} unknowns, {label}: {cost}; std/covariance: {spread}")


def main() -> None:
    """Runs what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="slachter2010")
    parser.add_argument("--data", default="slachter2010")
    parser.add_argument("--cells", type=int)
    parser.add_argument("--order", type=int, default=2)
    parser.add_argument("--true", action="store_true")
    arguments = parser.parse_args()
    if arguments.true:
        itself()
    else:
        on_device(arguments)


if __name__ == "__main__":
    main()
