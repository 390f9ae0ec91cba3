"""The device of a paper from end to end: signals, fit, table against the paper, figures, fields.

Knows the paper's numbers and which pictures it shows; everything else is done by the verbs that users have.
"""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from thermospin import analytic, inverse, operators, solve
from thermospin.accuracy.error_bars import solved_with_errors
from thermospin.base import files
from thermospin.base.lines import graded_lines
from thermospin.base.units import readable
from thermospin.data import rows as data
from thermospin.data.rows import Row
from thermospin.device.constitution import Constitution
from thermospin.device.device import Device
from thermospin.device.materials import Material
from thermospin.device.reader import load
from thermospin.grid import Grid
from thermospin.inference.result import FitResult
from thermospin.linear import preconditioner
from thermospin.model import Model, Progress, build
from thermospin.report.device_figures import device_picture
from thermospin.report.field_figures import interface_profile as draw_interface
from thermospin.report.field_figures import spin_map, temperature_map
from thermospin.report.fit_figures import fit_picture
from thermospin.report.sweep_figures import r2s_current
from thermospin.signals import evaluate as signals
from thermospin.signals.density import current_density
from thermospin.signals.results import NodalFields

#: Largest current of the paper's sweeps, rms and peak [A].
SWEEP_CURRENT_RMS = 1.5e-3
CURRENT = SWEEP_CURRENT_RMS * np.sqrt(2)
#: Current [A] and height [m] of the maps of its Fig. 5.
MAP_CURRENT, MAP_HEIGHT = 2e-3, 10e-9

#: Temperature gradient in Py of its Fig. 2 and of its text [K/m].
GRADIENT = -50e6

#: What the paper's own model gives (Slachter et al. 2010): zeta = 1 for R2.baseline, and zeta = 3.2 and S_s fitted to
#: R2.spin; the other signals at the parameters of its table. No number of the layout is fitted here.
PAPER_MODEL = {
    ("thermal", "R1.baseline"): 95e-6,
    ("thermal", "R1.spin"): -45e-6,
    ("thermal", "R2.baseline"): 2.4,
    ("thermal", "R2.spin"): -15.6e-3 / 3.2,
    ("electrical", "R1.baseline"): 0.640,
    ("electrical", "R1.spin"): 7.8e-3,
}

#: Files that the demo writes.
FILES = (
    "report.txt",
    "signals.json",
    "fit.json",
    "device.png",
    "fig2_interface.png",
    "fig4b_r2s.png",
    "fig5b_temperature.png",
    "fig5d_spin.png",
    "fit.png",
    "thermal_P.vtr",
    "electrical_P.vtr",
)


def run_demo(
    name: str, *, out: Path, cells: int | None = None, order: int = 3, progress: Progress | None = None
) -> str:
    """Write signals, fit, table, figures and fields of a shipped device into a folder; return the report as text.

    Args:
      name: a shipped device with shipped data.
      out: an existing folder.
      cells, order: of the grid, as for `model.build`.
      progress: callback for messages.
    """
    tell = progress or (lambda text: None)
    device = load(name)
    rows = data.load(name, device)
    tell("drawing the device")
    device_picture(device, out / "device.png")

    with ThreadPoolExecutor(1) as pool:
        # Beside the fit, whose compilation leaves a core half idle.
        F, N = device.materials["Py"], device.materials["Cu"]
        profile = pool.submit(interface_profile, F, N, device.bath)
        model = build(device, cells=cells, order=order, progress=progress)
        result = inverse.fit(model, rows, progress=progress)
    interface_figure(device, profile.result(), out / "fig2_interface.png")
    fitted = {name: parameter.value for name, parameter in result.parameters.items()}
    files.write_json(out / "fit.json", result.to_json())
    measured = solved_with_errors(model, fitted, start=result.fields, progress=progress).signals
    files.write_json(out / "signals.json", measured.to_json())

    fit_picture(result, out / "fit.png")
    after = dict(zip([(row.experiment, row.signal) for row in rows], result.after, strict=True))
    before = dict(zip([(row.experiment, row.signal) for row in rows], result.before, strict=True))
    spin = ("thermal", "R2.spin")
    seen = next(row for row in rows if (row.experiment, row.signal) == spin)
    curves = {"model, paper's parameters, ζ = 3.2": 3.2 * before[spin], "model, fitted": after[spin]}
    r2s_current(
        curves,
        out / "fig4b_r2s.png",
        seen.value,
        current_rms=SWEEP_CURRENT_RMS,
        label="measured (Slachter 2010)",
        measured_std=seen.std,
    )
    heat = _fields(model, "thermal", fitted, result, out, progress)
    spins = _fields(model, "electrical", fitted, result, out, progress)
    tell("drawing the maps")
    temperature_map(heat, MAP_HEIGHT, MAP_CURRENT, out / "fig5b_temperature.png", device)
    spin_map(spins, MAP_HEIGHT, MAP_CURRENT, out / "fig5d_spin.png", device)

    text = "\n\n".join(
        [
            f"{device.name}: {model.cells:,} cells, {model.unknowns:,} unknowns, order {order}",
            table(rows, before, after),
            hot_spot(heat, device, result),
            result.report(),
            f"Figures, fields (.vtr, for ParaView) and numbers are in {out}: {', '.join(FILES)}",
        ]
    )
    (out / "report.txt").write_text(text + "\n", encoding="utf-8")
    return text


def _fields(
    model: Model, experiment: str, fitted: dict[str, float], result: FitResult, out: Path, progress: Progress | None
) -> NodalFields:
    nodal = signals.fields(model, experiment, "P", MAP_CURRENT, fitted, start=result.fields, progress=progress)
    J = current_density(nodal, model.device, model.device.experiments[experiment].states["P"], fitted)
    files.write_vtr(out / f"{experiment}_P.vtr", nodal, {"domain": model.grid.domain, "J": J})
    return nodal


def table(rows: tuple[Row, ...], before: dict[tuple[str, str], float], after: dict[tuple[str, str], float]) -> str:
    """Return a table: measured, the paper's model, the model here at the paper's parameters, and after the fit."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(
        title="Paper and model (R2 of both models at zeta = 1; the fit has its own zeta)", title_justify="left"
    )
    for column in ("experiment", "signal", "measured", "paper's model", "here, paper's parameters", "here, fitted"):
        shown.add_column(column, justify="left" if column in ("experiment", "signal") else "right", no_wrap=True)
    for row in rows:
        key, unit = (row.experiment, row.signal), row.unit
        values = [row.value, PAPER_MODEL[key], before[key], after[key]]
        signal = row.signal if row.polarity_known else f"{row.signal} (sign unknown)"
        shown.add_row(row.experiment, signal, *(readable(value, unit) for value in values))
    console = Console(width=140, file=io.StringIO(), highlight=False)
    console.print(shown)
    return console.file.getvalue().rstrip()  # type: ignore[attr-defined]


def hot_spot(heat: NodalFields, device: Device, result: FitResult) -> str:
    """Describe how hot FM1 is at the map's current, for comparison with the paper's about 40 K."""
    (x0, x1), (y0, y1), (z0, z1) = device.solid("FM1").box
    inside = np.ix_((heat.x >= x0) & (heat.x <= x1), (heat.y >= y0) & (heat.y <= y1), (heat.z >= z0) & (heat.z <= z1))
    hottest = float(np.nanmax(heat.T[inside]))
    zeta = result.parameters["zeta"].value if "zeta" in result.parameters else device.zeta
    largest = hottest * (CURRENT / MAP_CURRENT) ** 2
    return (
        f"FM1 is at most {hottest:.3g} K above the bath at {MAP_CURRENT * 1e3:g} mA, about {largest:.3g} K at "
        f"{CURRENT * 1e3:.3g} mA (zeta = {zeta:.3g}); the paper's model has about 40 K there at its largest current, "
        "zeta = 3.2.\nThe layout that the paper does not print (see `thermospin check`) decides the absolute numbers; "
        "nothing of it was tuned."
    )


def interface_figure(device: Device, profile: tuple[np.ndarray, np.ndarray, np.ndarray], path: Path) -> None:
    """Draw the paper's Fig. 2: thermal injection from Py into Cu at 50 K/um, solved on a bar and in closed form.

    A bar of 120 nm of Py before 4 um of Cu, without current, the heat entering at the Py end.

    Args:
      profile: from `interface_profile`.
    """
    F, N = device.materials["Py"], device.materials["Cu"]
    x, V_up, V_down = profile
    shown = (x >= -40e-9) & (x <= 80e-9)
    x, V_up, V_down = x[shown], V_up[shown], V_down[shown]
    fine = np.union1d(np.linspace(-40e-9, 80e-9, 2001), x)
    exact = analytic.fn_interface_profile(fine, F, N, dT_dx=GRADIENT, T0=device.bath)
    offset = np.mean(
        [V_up[x == 0.0], V_down[x == 0.0]]
    )  # the closed form has V_c = 0 at the interface, the bar a ground
    slopes = (-F.S * GRADIENT, -N.S * GRADIENT * F.kappa / N.kappa)
    draw_interface(
        x, V_up - offset, V_down - offset, fine, exact.V_up, exact.V_down, path, slopes=slopes, sides=("Py", "Cu")
    )


def interface_profile(F: Material, N: Material, bath: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return node coordinates [m], V_up and V_down [V] along the bar, x = 0 at the interface, from the 3D program."""
    ends = np.array([-120e-9, 0.0, 4e-6])
    across = np.array([0.0, 30e-9])
    lines = graded_lines(ends, np.array([0.5e-9, 0.5e-9, 40e-9]), 0.5)
    domain = np.where(lines[1:] <= 0.0, 0, 1).astype(np.int32)[:, None, None]
    grid = Grid((lines, across, across), domain, 3)
    whole = np.ones((1, 1), dtype=bool)
    left, right = (grid.face_weights(0, end, whole, grid.lines) for end in (ends[0], ends[-1]))
    disc = operators.discretise(grid, np.array([True, True]), right > 0)
    parameters = {f"{m.name}.{key}": value for m in (F, N) for key, value in m.values().items()}
    constitution = Constitution(((F.name, None), (N.name, None)), (True, True), bath)
    law = operators.coefficients(disc, constitution.table(parameters, {}), bath)
    grounded = right.ravel()[disc.index_V] > 0
    made = preconditioner.prepare(solve.low_order_graphs(grid, disc, law, grounded), grid.nodes)
    (system,) = solve.hold(disc, made, grounded)
    # Heat that makes the gradient deep in F, where no channel carries current but the spin current of the bulk.
    dressed = analytic.dressed(F.sigma, F.P, F.S, F.S_s, F.kappa, F.lambda_sf, bath)
    heat = -dressed.kappa * (1 + dressed.feedback) * GRADIENT
    b = np.concatenate([np.zeros(2 * disc.nodes_V), heat / bath * left.ravel()[disc.index_T]])
    u, stats = solve.solve(system, law, jnp.asarray(b)[:, None])
    solve.require_converged(stats, "F/N interface")
    V_up, V_down, _ = (np.asarray(part)[:, 0] for part in operators.split(disc, u))
    edge = np.unravel_index(disc.index_V, left.shape)
    along = (edge[1] == 0) & (edge[2] == 0)
    return grid.nodes[0][edge[0][along]], V_up[along], V_down[along]
