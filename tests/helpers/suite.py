"""Devices on which the solver has to converge in about the same number of iterations, each at any size.

    from helpers.suite import CASES
    case = CASES["close-wires"]
    model = case.model(unknowns=30_000, order=2)

Every case is a device file as text, so that it goes the way of a user, and a rule for its grid lines that says what the
grid stresses. Numbers in texts are nm and SI; the rules give metres.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from importlib import resources

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from helpers.problems import diagonal_of
from thermospin import grid as grids
from thermospin import model as models
from thermospin import operators, solve
from thermospin.base.lines import merge_close
from thermospin.device import reader
from thermospin.device.device import Device
from thermospin.device.parts import Experiment
from thermospin.geometry import grid_rule
from thermospin.geometry.grid_rule import Features
from thermospin.grid import Grid
from thermospin.linear.preconditioner import Preconditioner
from thermospin.model import Model
from thermospin.operators import Coefficients, Fields
from thermospin.solve import System

Lines = tuple[np.ndarray, np.ndarray, np.ndarray]
#: Grid lines [m] for the features of a device and a scale; a larger scale gives fewer lines.
Rule = Callable[[Features, float], Lines]
Extents = tuple[float, float]

_apply = eqx.filter_jit(operators.apply)
_joule = eqx.filter_jit(operators.joule)


@dataclasses.dataclass(frozen=True)
class Case:
    """A device and a rule for its grid.

    Attributes:
      name: what tables call it.
      stresses: what it is hard about, in one sentence.
      text: device file.
      rule: where grid lines go.
      parameters: values that differ from the device's own, with which the preconditioner is built.
      tolerance: the least relative residual to ask for, where rounding does not allow the usual ones.
    """

    name: str
    stresses: str
    text: str
    rule: Rule
    parameters: Mapping[str, float] = dataclasses.field(default_factory=dict)
    tolerance: float = 0.0

    @functools.cached_property
    def device(self) -> Device:
        """The device of the text."""
        return reader.read(self.text, self.name)

    @property
    def experiment(self) -> Experiment:
        """The first one."""
        return next(iter(self.device.experiments.values()))

    def grid(self, unknowns: int, order: int) -> Grid:
        """The grid of about so many unknowns; the faces of the solids alone may ask for more.

        Of the scales tried by bisection the one that comes nearest; cases with few faces come within a few percent.
        """
        features = self.device.features
        metals = [self.device.materials[material].is_metal for material, _ in self.device.domains]
        tried: dict[float, tuple[int, Grid]] = {}

        def count(scale: float) -> int:
            lines = self.rule(features, scale)
            grid = Grid(lines, grids.fill(lines, features.boxes, features.domains), order)
            tried[scale] = grid.unknowns(metals), grid
            return tried[scale][0]

        coarse = 1e3
        fine = coarse
        while count(fine) < unknowns:
            coarse, fine = fine, fine / 1.4
        while min(abs(found / unknowns - 1) for found, _ in tried.values()) > 0.02 and coarse / fine > 1.001:
            middle = float(np.sqrt(coarse * fine))
            coarse, fine = (coarse, middle) if count(middle) >= unknowns else (middle, fine)
        return min(tried.values(), key=lambda pair: abs(np.log(pair[0] / unknowns)))[1]

    def model(self, unknowns: int, order: int) -> Model:
        """The discrete problem on `grid(unknowns, order)`."""
        return models.on_grid(self.device, self.grid(unknowns, order))

    def law(self, model: Model, signs: Mapping[str, int] | None = None) -> Coefficients:
        """Coefficients with the values of the case, in the first state of the experiment or with the signs given."""
        signs = next(iter(self.experiment.states.values())) if signs is None else signs
        table = model.constitution.table({**model.parameters, **self.parameters}, signs)
        return operators.coefficients(model.disc, table, self.device.bath)


# ------------------------------------------------------------------------------------------- right-hand sides


def drive_and_probe(case: Case, model: Model) -> Fields:
    """Two columns: 1 A into the first contact of the experiment, and the adjoint of its voltage probe."""
    experiment = case.experiment
    plus, minus = (model.ports[name] for name in experiment.voltage)
    return jnp.stack([model.ports[experiment.current[0]], plus - minus], axis=1)


def joule_and_change(case: Case, model: Model, law: Coefficients, u: Float[Array, " unknowns"]) -> Fields:
    """Two columns made from the response u to a current: its Joule heat, and (A - A') u with the last magnet reversed.

    The latter drives the difference of two magnetic states; a case without magnets has the first column alone.
    """
    heat = _joule(model.disc, law, u[:, None], u[:, None])
    magnets = case.device.magnets
    if not magnets:
        return heat
    other = case.law(model, {name: -1 for name in magnets[-1:]})
    return jnp.concatenate([heat, _apply(model.disc, law - other, u[:, None])], axis=1)


def relative_residual(system: System, law: Coefficients, b: Fields, u: Fields) -> np.ndarray:
    """|b - A u| / |b| on the free unknowns, |r|^2 = r.D^-1 r with D the diagonal of A; 0 for b = u = 0 (columns,).

    Recomputed from the answer; nothing of the solver but which unknowns are free. NaN where u is.
    """
    return _relative(system, law, b, np.asarray(b - _apply(system.disc, law, u)))


def relative_round_off(system: System, law: Coefficients, b: Fields, u: Fields) -> np.ndarray:
    """A bound on what rounding of u alone leaves of `relative_residual` (columns,), see `solve.ROUNDING`."""
    size = diagonal_of(system.disc, law)[:, None] * np.asarray(u)
    return solve.ROUNDING * np.finfo(float).eps * _relative(system, law, b, size)


def operator_complexity(made: Preconditioner) -> float:
    """Entries of the matrices of all levels over those of the first, a node with two potentials as two."""
    whole = first = 0
    for hierarchy, fields in ((made.potentials, 2), (made.heat, 1)):
        nodes = [len(level.diagonal[0]) for level in hierarchy.mg.levels]
        entries = [n + level.edges.matrix(n).nnz for n, level in zip(nodes, hierarchy.mg.levels, strict=True)]
        coarsest = len(hierarchy.coarsest) // fields
        entries.append(np.count_nonzero(hierarchy.coarsest[:coarsest, :coarsest]))
        whole, first = whole + fields * sum(entries), first + fields * entries[0]
    return whole / first


def _relative(system: System, law: Coefficients, b: Fields, r: np.ndarray) -> np.ndarray:
    """|r| / |b|."""
    free = np.asarray(system.free) > 0
    root = np.sqrt(diagonal_of(system.disc, law)[free])[:, None]
    given = np.asarray(b)[free] / root
    peak = np.abs(given).max(axis=0)  # so that squares of 1e-200 count
    peak = np.where(peak > 0, peak, 1.0)
    below = np.linalg.norm(given / peak, axis=0)
    above = np.linalg.norm(r[free] / root / peak, axis=0)
    return np.where(below > 0, above / np.where(below > 0, below, 1.0), np.where(above == 0, 0.0, np.inf))


# ------------------------------------------------------------------------------------------- rules for grid lines


def spaced(faces: np.ndarray, size: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Grid lines on all faces, between them so that a cell at x is about size(x) wide [m]."""
    pieces = [faces[:1]]
    unit = np.concatenate([[0.0], np.geomspace(1e-6, 0.5, 80)])
    for low, high in zip(faces[:-1], faces[1:], strict=True):
        sample = low + (high - low) * np.concatenate([unit, 1 - unit[-2::-1]])
        density = 1 / size(sample)
        measure = np.append(0.0, np.cumsum(np.diff(sample) * 0.5 * (density[1:] + density[:-1])))
        inner = np.interp(np.linspace(0, measure[-1], max(1, round(measure[-1])) + 1)[1:], measure, sample)
        inner[-1] = high
        pieces.append(inner)
    return np.concatenate(pieces)


def _extent(features: Features) -> float:
    """The largest extent of the device [m]."""
    return max(float(np.ptp(features.faces(axis))) for axis in range(3))


def _lines(features: Features, size: Callable[[int, np.ndarray, np.ndarray], np.ndarray]) -> Lines:
    """Lines along the three axes from size(axis, faces, x)."""
    faces = [features.faces(axis) for axis in range(3)]
    x, y, z = (spaced(faces[axis], functools.partial(size, axis, faces[axis])) for axis in range(3))
    return x, y, z


def even(*stretch: float) -> Rule:
    """Cells of equal size everywhere, longer by the factors given along x, y, z."""

    def rule(features: Features, scale: float) -> Lines:
        width = scale * _extent(features) * np.array(stretch or (1.0, 1.0, 1.0))
        return _lines(features, lambda axis, faces, x: np.full_like(x, width[axis]))

    return rule


def thinned(axis: int, aspect: float) -> Rule:
    """Cubes, but along one axis cells get thinner towards every face inside the device, by a factor up to `aspect`."""

    def rule(features: Features, scale: float) -> Lines:
        width = scale * _extent(features)

        def size(along: int, faces: np.ndarray, x: np.ndarray) -> np.ndarray:
            if along != axis:
                return np.full_like(x, width)
            distance = np.min(np.abs(x[:, None] - faces[None, 1:-1]), axis=1)
            return np.minimum(width, width / aspect + np.log(2) * distance)

        return _lines(features, size)

    return rule


def graded(smallest: float, growth: float | None) -> Rule:
    """Cells of `smallest` [m] at every metal face, larger from one to the next by a factor `growth`, up to a bound.

    The bound makes the number of unknowns; if `growth` is None there is none, and the growth does. On coarse grids the
    smallest cells are larger than asked, the bound over 200.
    """

    def rule(features: Features, scale: float) -> Lines:
        slope = np.log(growth) if growth else np.log1p(scale)
        bound = scale * _extent(features) if growth else np.inf
        least = max(smallest, bound / 200) if growth else smallest
        boxes = [box for box, metal in zip(features.boxes, features.metals, strict=True) if metal]

        def size(axis: int, faces: np.ndarray, x: np.ndarray) -> np.ndarray:
            del faces
            metal = merge_close([edge for box in boxes for edge in box[axis]])
            distance = np.min(np.abs(x[:, None] - metal[None, :]), axis=1)
            return np.minimum(bound, least + slope * distance)

        return _lines(features, size)

    return rule


def program(features: Features, scale: float) -> Lines:
    """The grid of the program itself at the coarseness `scale`."""
    return grid_rule.at_coarseness(features, 1, scale).lines


# ------------------------------------------------------------------------------------------- device files


def _material(name: str, **values: float) -> str:
    return "\n".join([f"[materials.{name}]", *(f"{key} = {value!r}" for key, value in values.items())])


def _solid(name: str, material: str, x: Extents, y: Extents, z: Extents, magnet: str | None = None) -> str:
    box = ", ".join(f"{axis} = {list(map(float, pair))}" for axis, pair in zip("xyz", (x, y, z), strict=True))
    extra = f'magnet = "{magnet}"\n' if magnet else ""
    return f'[[solids]]\nname = "{name}"\nmaterial = "{material}"\n{extra}box = {{ {box} }}'


def _contact(name: str, solid: str, face: str) -> str:
    return f'[[contacts]]\nname = "{name}"\nsolid = "{solid}"\nface = "{face}"'


def _sink(solid: str, face: str = "z-") -> str:
    return f'[[heat_sinks]]\nsolid = "{solid}"\nface = "{face}"'


def _experiment(current: Sequence[str], voltage: Sequence[str], magnet: str | None = None) -> str:
    states = f"{{ P = {{}}, AP = {{ {magnet} = -1 }} }}" if magnet else "{ P = {} }"
    return f"[experiments.main]\ncurrent = {list(current)}\nvoltage = {list(voltage)}\nstates = {states}"


def _device(name: str, *parts: str) -> str:
    return "\n".join([f'name = "{name}"', 'length_unit = "nm"', *parts]) + "\n"


# Lengths in materials are in the length_unit of the file, nm.
FERRO: dict[str, float] = {"sigma": 4.3e6, "P": 0.25, "S": -20e-6, "S_s": -4e-6, "kappa": 30.0, "lambda_sf": 5.0}
NORMAL: dict[str, float] = {"sigma": 4.3e7, "S": 1.6e-6, "kappa": 300.0, "lambda_sf": 350.0}
OXIDE: dict[str, float] = {"kappa": 1.4}

SHARED = "\n".join([_material("ferro", **FERRO), _material("normal", **NORMAL), _material("oxide", **OXIDE)])
"""Permalloy, copper and oxide, about as in Slachter et al. 2010."""


def _stack(name: str, ferro: Mapping[str, float], length: float, width: float) -> str:
    """Two magnets with copper between, three layers along x, each of a third of the length; current along x."""
    third = length / 3
    across = (0.0, width)
    return _device(
        name,
        _material("ferro", **ferro),
        _material("normal", **NORMAL),
        _solid("F1", "ferro", (0, third), across, across, "F1"),
        _solid("N", "normal", (third, 2 * third), across, across),
        _solid("F2", "ferro", (2 * third, length), across, across, "F2"),
        _contact("left", "F1", "x-"),
        _contact("right", "F2", "x+"),
        _experiment(["left", "right"], ["left", "right"], "F2"),
    )


def _cube(name: str) -> str:
    """One magnet, 100 nm wide, current along x."""
    side = (0.0, 100.0)
    return _device(
        name,
        SHARED,
        _solid("cube", "ferro", side, side, side, "M"),
        _contact("left", "cube", "x-"),
        _contact("right", "cube", "x+"),
        _experiment(["left", "right"], ["left", "right"], "M"),
    )


def _crossing(name: str, *, ferro: Mapping[str, float] = FERRO, normal: Mapping[str, float] = NORMAL) -> str:
    """A spin valve of 800 nm: two ferromagnetic strips under a copper strip, on oxide; current through one of them."""
    return _device(
        name,
        _material("ferro", **ferro),
        _material("normal", **normal),
        _material("oxide", **OXIDE),
        _solid("base", "oxide", (-400, 400), (-300, 300), (-300, 0)),
        _solid("N", "normal", (-200, 400), (-30, 30), (0, 60)),
        _solid("F1", "ferro", (-150, -50), (-300, 300), (0, 20), "F1"),
        _solid("F2", "ferro", (50, 90), (-300, 300), (0, 20), "F2"),
        _contact("1", "F1", "y-"),
        _contact("2", "F1", "y+"),
        _contact("3", "N", "x+"),
        _contact("4", "F2", "y+"),
        _sink("base"),
        _experiment(["1", "2"], ["4", "3"], "F2"),
    )


def _inclusions(name: str, contrast: float) -> str:
    """A poor metal 300 nm wide with electrodes of copper over its ends and grains of copper and of a magnet inside."""
    poor = {"sigma": NORMAL["sigma"] / contrast, "S": 5e-6, "kappa": 20.0, "lambda_sf": 50.0}
    grains = [
        _solid("g1", "normal", (60, 100), (40, 120), (0, 60)),
        _solid("g2", "normal", (110, 180), (130, 160), (20, 60)),
        _solid("g3", "normal", (100, 130), (20, 90), (10, 40)),  # meets g1 face to face
        _solid("g4", "normal", (200, 240), (60, 140), (0, 30)),
        _solid("magnet", "ferro", (140, 190), (70, 110), (20, 60), "M"),
    ]
    return _device(
        name,
        SHARED,
        _material("poor", **poor),
        _solid("base", "oxide", (-100, 400), (-50, 250), (-150, 0)),
        _solid("film", "poor", (0, 300), (0, 200), (0, 60)),
        *grains,
        _solid("left", "normal", (-100, 40), (20, 180), (0, 110)),
        _solid("right", "normal", (260, 400), (20, 180), (0, 110)),
        _contact("left", "left", "x-"),
        _contact("right", "right", "x+"),
        _contact("top", "film", "y+"),
        _sink("base"),
        _experiment(["left", "right"], ["top", "right"], "M"),
    )


def _beside(name: str, contrast: float) -> str:
    """A copper strip with a poor metal along its side and a magnet on it; current through the strip."""
    return _device(
        name,
        SHARED,
        _material("poor", sigma=NORMAL["sigma"] / contrast, S=5e-6, kappa=20.0, lambda_sf=50.0),
        _solid("base", "oxide", (0, 400), (-60, 300), (-120, 0)),
        _solid("strip", "normal", (0, 400), (0, 40), (0, 40)),
        _solid("film", "poor", (50, 350), (40, 240), (0, 40)),
        _solid("magnet", "ferro", (150, 250), (0, 60), (40, 60), "M"),
        _contact("in", "strip", "x-"),
        _contact("out", "strip", "x+"),
        _contact("side", "film", "y+"),
        _sink("base"),
        _experiment(["in", "out"], ["side", "out"], "M"),
    )


def _heated(name: str, kappa: float) -> str:
    """A copper strip between two bodies that carry heat only, the lower one of a heat conductivity kappa [W/(m K)]."""
    return _device(
        name,
        SHARED,
        _material("body", kappa=kappa),
        _solid("base", "body", (0, 400), (0, 400), (-200, 0)),
        _solid("cap", "oxide", (100, 300), (50, 350), (0, 120)),
        _solid("N", "normal", (0, 400), (180, 220), (0, 40)),
        _solid("F", "ferro", (150, 200), (80, 320), (0, 20), "F"),
        _contact("in", "N", "x-"),
        _contact("out", "N", "x+"),
        _contact("side", "F", "y+"),
        _sink("base"),
        _experiment(["in", "out"], ["side", "out"], "F"),
    )


def _wires(name: str) -> str:
    """Eight wires 5 to 20 nm wide, 2 to 5 nm apart, and one across 3 nm above them; all meet in one bus."""
    widths, gaps = (20, 5, 12, 8, 5, 16, 10, 20), (3, 2, 5, 2, 4, 3, 2)
    parts, y = [], 0.0
    for k, width in enumerate(widths):
        material, magnet = ("ferro", "M") if k == 3 else ("normal", None)
        parts += [
            _solid(f"w{k}", material, (0, 400), (y, y + width), (0, 12), magnet),
            _contact(f"w{k}", f"w{k}", "x-"),
        ]
        y += width + (gaps[k] if k < len(gaps) else 0)
    return _device(
        name,
        SHARED,
        _solid("base", "oxide", (0, 440), (-60, y + 60), (-120, 0)),
        _solid("bus", "normal", (400, 440), (-40, y + 20), (0, 22)),
        *parts,
        _solid("post", "normal", (400, 440), (-40, -20), (0, 40)),
        _solid("beam", "normal", (190, 440), (-40, -20), (15, 40)),
        _solid("above", "normal", (190, 210), (-20, y + 10), (15, 25)),
        _contact("ground", "bus", "x+"),
        _sink("base"),
        _experiment(["w3", "ground"], ["w4", "ground"], "M"),
    )


def _comb(name: str) -> str:
    """Two combs of twelve fingers 8 nm wide between each other, 3 nm apart, which meet in a wire far away."""
    fingers = []
    for k in range(12):
        y = 11.0 * k
        x = (20.0, 220.0) if k % 2 else (24.0, 224.0)
        fingers.append(_solid(f"f{k}", "normal", x, (y, y + 8), (0, 10)))
    top = 11.0 * 12
    return _device(
        name,
        SHARED,
        _solid("base", "oxide", (-60, 300), (-60, top + 60), (-100, 0)),
        _solid("left", "normal", (0, 20), (-20, top), (0, 10)),
        _solid("right", "normal", (224, 244), (-20, top), (0, 10)),
        *fingers,
        _solid("link", "ferro", (20, 224), (-20, -12), (0, 10), "M"),
        _contact("left", "left", "y+"),
        _contact("right", "right", "y+"),
        _sink("base"),
        _experiment(["left", "right"], ["left", "right"], "M"),
    )


def _serpentine(name: str) -> str:
    """A wire 10 nm wide that runs to and fro sixteen times, 3 nm from itself, with a magnet beside it 2 nm away."""
    runs = 16
    parts = []
    for k in range(runs):
        y = 13.0 * k
        parts.append(_solid(f"run{k}", "normal", (0, 250), (y, y + 10), (0, 8)))
        if k < runs - 1:
            x = (240.0, 250.0) if k % 2 == 0 else (0.0, 10.0)
            parts.append(_solid(f"turn{k}", "normal", x, (y + 10, y + 13), (0, 8)))
    top = 13.0 * runs - 3
    return _device(
        name,
        SHARED,
        _solid("base", "oxide", (-40, 290), (-40, top + 40), (-100, 0)),
        *parts,
        _solid("tail", "normal", (0, 10), (top, top + 40), (0, 8)),
        _solid("magnet", "ferro", (12, 252), (top + 2, top + 17), (0, 8), "M"),
        _solid("tie", "normal", (10, 12), (top + 2, top + 17), (0, 8)),
        _contact("start", "run0", "x-"),
        _contact("end", "tail", "y+"),
        _contact("magnet", "magnet", "x+"),
        _sink("base"),
        _experiment(["start", "end"], ["magnet", "end"], "M"),
    )


def _leads(name: str) -> str:
    """An island 200 nm wide with five leads on each of its four sides, all different, on oxide."""
    leads, contacts = [], []
    for side in range(4):
        for k in range(5):
            label = f"{'NESW'[side]}{k}"
            low = -90.0 + 38.0 * k
            along, out = (low, low + 10.0 + 4.0 * k), (100.0, 300.0 + 40.0 * side)
            if side in (2, 3):
                out = (-out[1], -out[0])
            x, y = (along, out) if side in (0, 2) else (out, along)
            leads.append(_solid(label, "normal", x, y, (0, 20 + 5 * (k % 2))))
            contacts.append(_contact(label, label, ("y+", "x+", "y-", "x-")[side]))
    return _device(
        name,
        SHARED,
        _solid("base", "oxide", (-420, 340), (-380, 300), (-200, 0)),
        _solid("island", "ferro", (-100, 100), (-100, 100), (0, 25), "M"),
        *leads,
        *contacts,
        _sink("base"),
        _experiment(["N0", "S4"], ["E2", "W1"], "M"),
    )


def _thermoelectric(name: str) -> str:
    """Legs of a bismuth telluride, T0 sigma S^2 = kappa/2 in both, between a magnet and copper, on oxide."""
    leg = {"sigma": 1e5, "kappa": 2.4, "lambda_sf": 30.0}
    return _device(
        name,
        SHARED,
        _material("n_leg", **leg, S=-200e-6),
        _material("p_leg", **leg, S=200e-6),
        _solid("base", "oxide", (-50, 250), (-50, 110), (-80, 0)),
        _solid("n", "n_leg", (0, 60), (0, 60), (20, 160)),
        _solid("p", "p_leg", (140, 200), (0, 60), (20, 160)),
        _solid("bridge", "ferro", (0, 200), (0, 60), (160, 190), "M"),
        _solid("n_foot", "normal", (-50, 60), (0, 60), (0, 20)),
        _solid("p_foot", "normal", (140, 250), (0, 60), (0, 20)),
        _contact("n", "n_foot", "x-"),
        _contact("p", "p_foot", "x+"),
        _sink("base"),
        _experiment(["n", "p"], ["n", "p"], "M"),
    )


def _film(name: str) -> str:
    """A magnetic film 2 nm thick and 2 um wide on oxide, with a normal film of 3 nm over half of it."""
    return _device(
        name,
        SHARED,
        _solid("base", "oxide", (-1000, 1000), (-1000, 1000), (-300, 0)),
        _solid("film", "ferro", (-1000, 1000), (-800, 800), (0, 2), "M"),
        _solid("cover", "normal", (-200, 1000), (-300, 500), (2, 5)),
        _contact("left", "film", "x-"),
        _contact("right", "film", "x+"),
        _contact("cover", "cover", "x+"),
        _sink("base"),
        _experiment(["left", "right"], ["left", "right"], "M"),
    )


def _shipped(name: str) -> str:
    return (resources.files("thermospin") / "device" / "shipped" / f"{name}.toml").read_text(encoding="utf-8")


def _cases() -> list[Case]:
    aspects = [
        Case(
            f"aspect-{axis}",
            f"cells up to 200 times thinner along {axis} than across, beside cubes",
            _crossing(f"aspect-{axis}"),
            thinned(number, 200.0),
        )
        for number, axis in enumerate("xyz")
    ]
    contrasts = [
        Case(
            f"contrast-{text}",
            f"metals that touch, their conductivities a factor {text} apart",
            _inclusions(f"contrast-{text}", float(text)),
            even(),
            # All of the copper is at the potential that drives the current through the poor metal, and double precision
            # knows currents of it to 1e-16 of that potential times the conductance of copper only.
            tolerance=1e-7 if text == "1e6" else 0.0,
        )
        for text in ("1", "1e3", "1e6")
    ]
    bodies = [
        Case(
            f"heat-contrast-{text}",
            f"a metal on a body that carries heat only, heat conductivities a factor {text} apart",
            _heated(f"heat-contrast-{text}", NORMAL["kappa"] / float(text)),
            even(),
        )
        for text in ("1", "1e4")
    ]
    # Cells are some 10 nm at 1e4 unknowns and 2 nm at 1e6.
    polarised = [
        Case(
            f"polarised-{name}",
            f"P = {P}, spins relax within {length} nm in the magnets",
            _crossing(f"polarised-{name}", ferro={**FERRO, "P": P, "lambda_sf": length}),
            even(),
        )
        for name, P, length in (
            ("0", 0.0, 30.0),
            ("0.5", 0.5, 30.0),
            ("0.9-short", 0.9, 0.5),
            ("0.9-long", 0.9, 300.0),
        )
    ]
    lengths = [
        Case(
            f"{name}-relaxation",
            f"lambda_sf = {length} nm in all metals, far {'below cell' if length < 10 else 'above device'} size",
            _crossing(
                f"{name}-relaxation",
                ferro={**FERRO, "lambda_sf": length},
                normal={**NORMAL, "lambda_sf": length},
            ),
            even(),
        )
        for name, length in (("short", 1.0), ("long", 1e4))
    ]
    moved = {"ferro.sigma": 1.3e7, "ferro.P": 0.5, "ferro.lambda_sf": 15e-9, "normal.sigma": 1.4e7, "oxide.kappa": 4.2}
    return [
        Case(
            "reference",
            "the device of Slachter et al. 2010 on the program's own grid",
            _shipped("slachter2010"),
            program,
        ),
        Case("cube", "nothing: one material, cubes", _cube("cube"), even()),
        Case("bar", "three layers, 1 um long and 60 nm wide, cubes", _stack("bar", FERRO, 999, 60), even()),
        *contrasts,
        Case(
            "contrast-1e6-beside",
            "a poor metal, a factor 1e6, along a copper strip that carries the current",
            _beside("contrast-1e6-beside", 1e6),
            even(),
        ),
        *bodies,
        *aspects,
        Case(
            "graded",
            "cells from 0.7 nm, in all three directions, growth from one to the next 6 and less the more unknowns",
            _crossing("graded"),
            graded(0.7e-9, None),
        ),
        Case("graded-2", "the same from 1 nm, growth 2 up to a bound", _crossing("graded-2"), graded(1e-9, 2.0)),
        Case("graded-6", "the same from 0.5 nm, growth 6 up to a bound", _crossing("graded-6"), graded(0.5e-9, 6.0)),
        *polarised,
        *lengths,
        Case("close-wires", "wires 2 to 5 nm apart, over each other too, on oxide", _wires("close-wires"), even()),
        Case("comb", "two combs between each other, 3 nm apart, on oxide", _comb("comb"), even()),
        Case(
            "serpentine", "a wire 3.7 um long folded to 3 nm from itself, on oxide", _serpentine("serpentine"), even()
        ),
        Case("twenty-leads", "twenty leads with contacts on one island, on oxide", _leads("twenty-leads"), even()),
        Case("thermoelectric", "T0 sigma S^2 = kappa/2", _thermoelectric("thermoelectric"), even()),
        Case("thin-film", "a film of 2 nm, 2 um wide, in flat cells", _film("thin-film"), even(1.0, 1.0, 0.1)),
        Case(
            "moved",
            "a preconditioner built for other values, as in a fit: up to a factor 3 in sigma, kappa and lambda_sf",
            _crossing("moved"),
            even(),
            moved,
        ),
    ]


CASES: dict[str, Case] = {case.name: case for case in _cases()}
"""All cases by name."""
