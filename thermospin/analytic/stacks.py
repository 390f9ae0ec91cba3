"""Stacks of layers, solved exactly."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from thermospin.analytic.checks import METAL, heat_fault, require, require_attributes, require_within
from thermospin.analytic.materials import Num, dressed, open_circuit_kappa
from thermospin.base.errors import InputError
from thermospin.base.kinds import require_whole


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layer:
    """One uniform layer of a stack; sigma = 0 carries heat only (then P, S, S_s and lambda_sf mean nothing).

    length [m], sigma [S/m], P [1], S, S_s [V/K], kappa at zero gradient of V [W/(m K)], lambda_sf [m],
    heat: uniform heat source [W/m^3]. Numbers outside the model are refused; so is an infinite lambda_sf: let it be
    1e4 times the length.
    """

    length: float
    kappa: float
    sigma: float = 0.0
    P: float = 0.0
    S: float = 0.0
    S_s: float = 0.0
    lambda_sf: float = 1.0
    heat: float = 0.0

    def __post_init__(self) -> None:
        used = ["length", "kappa", "sigma", "heat", *(["P", "S", "S_s", "lambda_sf"] if np.any(self.sigma) else [])]
        require("Layer", {name: getattr(self, name) for name in used})

    @classmethod
    def of(cls, material: Any, length: float, *, sign: int = 1, heat: float = 0.0) -> Layer:
        """Return a layer of a material (anything with the attributes); sign = -1 reverses its magnet (P and S_s)."""
        _require_signs("Layer.of", [sign], (1, -1))
        metal = METAL if getattr(material, "sigma", 0) else ("sigma", "kappa")
        require_attributes("Layer.of", material, metal, "a Material or a Layer")
        if not material.sigma:
            return cls(length=length, kappa=material.kappa, heat=heat)
        return cls(
            length=length,
            sigma=material.sigma,
            P=sign * material.P,
            S=material.S,
            S_s=sign * material.S_s,
            kappa=material.kappa,
            lambda_sf=material.lambda_sf,
            heat=heat,
        )


def _require_signs(where: str, signs: Sequence[Any], allowed: Sequence[Any]) -> None:
    if any(np.ndim(sign) or sign not in allowed for sign in signs):
        raise InputError(f"{where}: got the sign {', '.join(map(str, signs))}, expected 1, or -1 for a reversed magnet")


V_UP, V_DOWN, T, J_UP, J_DOWN, Q = range(6)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interface:
    """What lies between two layers: a layer of no thickness with the equations of one. Fields jump where they may.

    As a layer of thickness t -> 0 with sigma = t/RA, P = gamma, kappa = K t, lambda_sf = t/delta and its S and S_s, so
    that J_s = -G_s ([V_s] + S_s' [T]) and Q = -(sum_s G_s S_s' T0 [V_s] + K [T]) at delta = 0, with
    G_up,down = (1 +- gamma)/(2 RA) and [u] = u(right) - u(left).

    RA [ohm m^2], gamma [1], K at zero jump of V [W/(m^2 K)], S, S_s [V/K], delta [1]; RA = 0: V does not jump, and
    gamma, S, S_s and delta are 0; K infinite: T does not jump. Next to a heat-only layer K alone counts. Joule heat
    goes half to either side.
    Source: Valet and Fert, Phys. Rev. B 48, 7099 (1993), for RA, gamma and delta; derived in docs/theory.md.
    """

    RA: float = 0.0
    gamma: float = 0.0
    K: float = math.inf
    S: float = 0.0
    S_s: float = 0.0
    delta: float = 0.0

    def __post_init__(self) -> None:
        values = dataclasses.asdict(self)
        require("Interface", values, infinite=["K"])
        if not self.RA:
            alone = [
                f"Interface: {name}: got {values[name]:g} with RA = 0, expected RA > 0 ohm m^2 beside it; give RA, or "
                f"leave {name} out"
                for name in ("gamma", "S", "S_s", "delta")
                if values[name]
            ]
            if alone:
                raise InputError(alone)

    @classmethod
    def of(cls, item: Any, *, signs: tuple[int | None, int | None] = (1, None)) -> Interface:
        """Return the interface of a device for the signs of the magnets of its first and second side, None for none.

        `item` is anything with RA, gamma, P1, P2, K, S, S_s, S_AP, delta, None where not given. gamma and S_s follow
        the first magnet there is, P1 and P2 each its own, in G_up,down = (1 +- P1)(1 +- P2)/(2 RA).
        """
        if not isinstance(signs, list | tuple) or len(signs) != 2:
            raise InputError(f"Interface.of: signs: got {signs!r}, expected two, of the magnets of either side")
        _require_signs("Interface.of", signs, (1, -1, None))
        names = ("RA", "gamma", "P1", "P2", "K", "S", "S_s", "S_AP", "delta")
        require_attributes("Interface.of", item, names, "an interface of a device")
        sign = next((s for s in signs if s is not None), 1)
        first, second = (1 if s is None else s for s in signs)
        gamma, scale = sign * (item.gamma or 0.0), 1.0
        if item.P1 is not None:
            P1, P2 = first * item.P1, second * item.P2
            scale = 1 + P1 * P2
            gamma = (P1 + P2) / scale
        S = item.S_AP if item.S_AP is not None and first != second else item.S or 0.0
        return cls(
            RA=(item.RA or 0.0) / scale,
            gamma=gamma,
            K=math.inf if item.K is None else item.K,
            S=S,
            S_s=sign * (item.S_s or 0.0),
            delta=item.delta or 0.0,
        )

    def open_K(self, T0: float) -> float:
        """Return the heat conductance without current in either channel [W/(m^2 K)]."""
        if not self.RA or self.K == math.inf:
            return self.K
        return float(open_circuit_kappa(1 / self.RA, self.gamma, self.S, self.S_s, self.K, T0))

    def _constants(self, T0: float) -> tuple[float, float, float, float, float]:
        """Return R, c and k of V_s' = c U - R j, j' = -k^2 V_s/R over a unit of thickness; t and g of k.

        t = tanh(k/2) and g = t/(k/2) are all of k that relates one face to the other: bounded, where cosh k and sinh k
        of a thick layer would drown what the faces have in common in rounding.
        """
        r, K_open = self.RA / (1 - self.gamma**2), self.open_K(T0)
        feedback = T0 * self.S_s**2 / (4 * r * K_open) if r else 0.0
        k = self.delta * math.sqrt(1 + feedback)
        t = math.tanh(k / 2)
        return 4 * r * (1 + feedback), self.S_s / K_open, k, t, 2 * t / k if k else 1.0

    def misfit(self, left: np.ndarray, right: np.ndarray, T0: float) -> np.ndarray:
        """Return by how much the fields (6, ...) at both faces miss the equations of the layer: 0 where they fit.

        With w = j - c U/R, which obeys the equation of V_s, and all of it through t and g:

            [V_s] = -R g (w_left + w_right)/2,   [j] = -(k t/R)(V_s,left + V_s,right),
            K_open [T] = -U + T0 S_s (c U (1 - g)/R + g (j_left + j_right)/2),
            [mean V] = -J RA - S [T],   [J] = [Q] = 0.
        """
        R, c, k, t, g = self._constants(T0)
        up = (1 + self.gamma) / 2
        J = [f[J_UP] + f[J_DOWN] for f in (left, right)]
        j = [f[J_UP] - up * both for f, both in zip((left, right), J, strict=True)]
        V_s = [f[V_UP] - f[V_DOWN] for f in (left, right)]
        mean = [up * f[V_UP] + (1 - up) * f[V_DOWN] for f in (left, right)]
        U = left[Q] - self.S * T0 * J[0]
        jump_T = right[T] - left[T]
        carried = g * (j[0] + j[1]) / 2 + (c * U * (1 - g) / R if R else 0.0)
        # T and Q keep their places: heat-only layers have no other equations
        return np.stack(
            [
                V_s[1] - V_s[0] + g * (R * (j[0] + j[1]) / 2 - c * U),
                j[1] - j[0] + (k * t / R * (V_s[0] + V_s[1]) if R else 0.0),
                jump_T + (U - T0 * self.S_s * carried) / self.open_K(T0),
                mean[1] - mean[0] + self.RA * J[0] + self.S * jump_T,
                J[1] - J[0],
                right[Q] - left[Q],
            ]
        )

    def joule(self, left: np.ndarray, right: np.ndarray, T0: float) -> float:
        """Return the Joule heat per area [W/m^2] of the fields at its faces: sum_s J_s^2/G_s over the thickness.

        J^2 RA + 4 r times the mean of j^2, with j = c U/R + w and w = w_even cosh(k y)/cosh(k/2) + w_odd sinh(k y)/
        sinh(k/2), y from -1/2 to 1/2.
        """
        if not self.RA:
            return 0.0
        R, c, _, t, g = self._constants(T0)
        J = left[J_UP] + left[J_DOWN]
        driven = c * (left[Q] - self.S * T0 * J) / R
        w = [f[J_UP] - (1 + self.gamma) / 2 * J - driven for f in (left, right)]
        even, odd = (w[0] + w[1]) / 2, (w[1] - w[0]) / 2
        # the mean of sinh^2/sinh^2(k/2), 1/3 for k -> 0, where it would be rounding over rounding
        squared = (g - 1 + t**2) / (2 * t**2) if t > 1e-4 else 1 / 3
        mean = driven**2 + 2 * driven * even * g + even**2 * (1 - t**2 + g) / 2 + odd**2 * squared
        return float(self.RA * (J**2 + 4 / (1 - self.gamma**2) * mean))


TRANSPARENT = Interface()


@dataclasses.dataclass(frozen=True, kw_only=True)
class End:
    """The held quantities at an end of a stack: V or J for each channel (up, down), and T or Q; J and Q point along +x.

    With `h` [W/(m^2 K)], T is that of a bath which exchanges heat with the end at that rate per area and kelvin. With
    `zero` the mean of both V is 0 at an end without current (J = (0, 0)), of a stack into which nothing feeds any: its
    reference. At an end of a heat-only layer V and J mean nothing.
    """

    V: tuple[float, float] | None = None
    J: tuple[float, float] | None = None
    T: float | None = None
    Q: float | None = None
    h: float = math.inf
    zero: bool = False

    def __post_init__(self) -> None:
        held = {name: getattr(self, name) for name in ("V", "J", "T", "Q", "h")}
        given = {name: value for name, value in held.items() if value is not None}
        require("End", given, infinite=["h"], lists=["V", "J"])
        if (self.V is None) == (self.J is None) or (self.T is None) == (self.Q is None):
            raise InputError(f"an End holds one of V and J, and one of T and Q; got {self}")
        if self.T is None and self.h < math.inf:
            raise InputError(f"an End exchanges heat h with a bath at T; got {self}")
        for name, pair in (("V", self.V), ("J", self.J)):
            if pair is not None and np.shape(pair) != (2,):
                raise InputError(f"End: {name}: got {pair}, expected two numbers, of the channels up and down")
        if self.zero and (self.J is None or any(self.J)):
            raise InputError(f"End: zero: got it with V = {self.V}, J = {self.J}, expected it with J = (0, 0) alone")

    @classmethod
    def grounded(cls) -> End:
        """V_up = V_down = 0 and T = bath."""
        return cls(V=(0.0, 0.0), T=0.0)

    @classmethod
    def current(cls, J: float = 0.0, *, T: float = 0.0) -> End:
        """Current density J [A/m^2] along +x, half in each channel, and T held; J = 0 is a voltage contact."""
        require("End.current", {"J": J})
        return cls(J=(J / 2, J / 2), T=T)

    @classmethod
    def insulated(cls) -> End:
        """No current in either channel and no heat."""
        return cls(J=(0.0, 0.0), Q=0.0)

    def homogeneous(self) -> End:
        """Return the same kind of end with nothing driven: the boundary condition of every higher harmonic."""
        return End(
            V=None if self.V is None else (0.0, 0.0),
            J=None if self.J is None else (0.0, 0.0),
            T=None if self.T is None else 0.0,
            Q=None if self.Q is None else 0.0,
            h=self.h,
            zero=self.zero,
        )


class _Source(NamedTuple):
    """Heat source c0 + c1 e + c2 f + c3 e^2 + c4 f^2 with e = exp(-x/lambda), f = exp(-(L-x)/lambda)."""

    constant: float = 0.0
    e: float = 0.0
    f: float = 0.0
    ee: float = 0.0
    ff: float = 0.0


class _LayerModes:
    """General solution of one metal layer: six amplitudes a, b (V_s = a e + b f), J, U = Q - S T0 J, mean V, T."""

    def __init__(self, layer: Layer, T0: float):
        self.layer, self.T0 = layer, T0
        self.metal = layer.sigma != 0
        if self.metal:
            d = dressed(layer.sigma, layer.P, layer.S, layer.S_s, layer.kappa, layer.lambda_sf, T0)
            self.k, self.kappa, self.R = 1 / d.lambda_sf, d.kappa, 4 * d.R / d.lambda_sf
            self.c = layer.S_s / d.kappa
        else:
            self.kappa = layer.kappa
        self.size = 6 if self.metal else 2

    def units(self, length: float) -> np.ndarray:
        """Natural sizes of the amplitudes in a stack of that length: 1 K, 0.1 mV and the currents they drive."""
        if not self.metal:
            return np.array([self.kappa / length, 1.0])
        v = 1e-4
        return np.array([v, v, self.layer.sigma * v / length, self.kappa / length, v, 1.0])

    def expand(self, V_s: Num, dV_s: Num, U: Num, int_U: Num, J: Num, mean: Num, T_const: Num, x: Num) -> np.ndarray:
        """Return the six fields at x from V_s, its derivative, U and its integral, J and the two constants."""
        m, T0 = self.layer, self.T0
        j = (self.c * U - dV_s) / self.R
        temp = T_const - int_U / self.kappa + T0 * self.c * (self.c * int_U - V_s) / self.R
        v = mean - J * x / m.sigma - m.S * temp
        rows = np.broadcast_arrays(
            v + (1 - m.P) / 2 * V_s,
            v - (1 + m.P) / 2 * V_s,
            temp,
            (1 + m.P) / 2 * J + j,
            (1 - m.P) / 2 * J - j,
            U + m.S * T0 * J,
            x,
        )
        return np.stack(rows[:-1])

    def exponentials(self, x: Num) -> tuple[Num, Num]:
        return np.exp(-self.k * x), np.exp(-self.k * (self.layer.length - x))

    def basis(self, x: Num) -> np.ndarray:
        """Fields per unit amplitude, shape (size, 6, ...)."""
        x = np.asarray(x, dtype=float)
        zero, one = np.zeros_like(x), np.ones_like(x)
        if not self.metal:
            return np.stack(
                [
                    np.stack([zero, zero, -x / self.kappa, zero, zero, one]),
                    np.stack([zero, zero, one, zero, zero, zero]),
                ]
            )
        e, f = self.exponentials(x)
        return np.stack(
            [
                self.expand(e, -self.k * e, zero, zero, zero, zero, zero, x),
                self.expand(f, self.k * f, zero, zero, zero, zero, zero, x),
                self.expand(zero, zero, zero, zero, one, zero, zero, x),
                self.expand(zero, zero, one, x, zero, zero, zero, x),
                self.expand(zero, zero, zero, zero, zero, one, zero, x),
                self.expand(zero, zero, zero, zero, zero, zero, one, x),
            ]
        )

    def particular(self, x: Num, s: _Source) -> np.ndarray:
        """One solution with the heat source s, from V_s'' = k^2 V_s + c s."""
        x = np.asarray(x, dtype=float)
        if not self.metal:
            zero = np.zeros_like(x)
            return np.stack([zero, zero, -s.constant * x**2 / (2 * self.kappa), zero, zero, s.constant * x])
        k, y = self.k, self.layer.length - x
        e, f = self.exponentials(x)
        U = s.constant * x + (-s.e * e + s.f * f) / k + (-s.ee * e**2 + s.ff * f**2) / (2 * k)
        int_U = s.constant * x**2 / 2 + (s.e * e + s.f * f) / k**2 + (s.ee * e**2 + s.ff * f**2) / (4 * k**2)
        V_s = self.c * (
            -s.constant / k**2 - (s.e * x * e + s.f * y * f) / (2 * k) + (s.ee * e**2 + s.ff * f**2) / (3 * k**2)
        )
        dV_s = self.c * (
            (-s.e * (1 - k * x) * e + s.f * (1 - k * y) * f) / (2 * k) + 2 * (-s.ee * e**2 + s.ff * f**2) / (3 * k)
        )
        return self.expand(V_s, dV_s, U, int_U, 0.0, 0.0, 0.0, x)

    def joule(self, amplitudes: np.ndarray) -> _Source:
        """Joule heat of a solution without heat source: sum J_s^2/sigma_s = J^2/sigma + 4 j^2/(sigma (1-P^2))."""
        if not self.metal:
            return _Source()
        m = self.layer
        a, b, J, U = amplitudes[:4]
        r = 4 / (m.sigma * (1 - m.P**2))
        j0, ja, jb = self.c * U / self.R, self.k * a / self.R, -self.k * b / self.R
        constant = J**2 / m.sigma + r * (j0**2 + 2 * ja * jb * np.exp(-self.k * m.length))
        return _Source(constant, 2 * r * j0 * ja, 2 * r * j0 * jb, r * ja**2, r * jb**2)


class LayeredSolution:
    """Fields of a stack of layers; x runs from 0 at its left end. Built by `layered_stack`."""

    def __init__(
        self,
        modes: Sequence[_LayerModes],
        ends: tuple[End, End],
        sources: Sequence[_Source],
        interfaces: Sequence[Interface],
        made: Sequence[float],
    ):
        self._modes, self._ends, self._sources = list(modes), ends, list(sources)
        self._interfaces, self._made = list(interfaces), list(made)
        self.edges = np.concatenate([[0.0], np.cumsum([m.layer.length for m in modes])])
        """coordinates of the two ends and of every interface [m]"""
        self._amplitudes = self._solve()

    def _conditions(self, end: End, side: int, fields: np.ndarray, metal: bool) -> tuple[list[Any], list[float]]:
        """Rows of `fields` that an end holds, and their values; `side` is -1 at the left end and 1 at the right one."""
        rows: list[Any] = []
        values: list[float] = []
        if metal and end.V is not None:
            rows, values = [fields[V_UP], fields[V_DOWN]], list(end.V)
        elif metal and end.J is not None:
            rows, values = [fields[J_UP], fields[J_DOWN]], list(end.J)
            if end.zero:  # that no charge flows is said at the other end
                rows, values = [fields[J_UP] - fields[J_DOWN], fields[V_UP] + fields[V_DOWN]], [0.0, 0.0]
        if end.T is not None:
            return [*rows, fields[T] - side * fields[Q] / end.h], [*values, end.T]
        return [*rows, fields[Q]], [*values, float(end.Q or 0.0)]

    def _solve(self) -> list[np.ndarray]:
        offset = np.concatenate([[0], np.cumsum([m.size for m in self._modes])])
        n, rows, rhs = int(offset[-1]), [], []

        def side(i: int, x: float) -> tuple[np.ndarray, np.ndarray]:
            """(6, n) dependence of the fields of layer i at local x on all amplitudes, and their fixed part (6,)."""
            matrix = np.zeros((6, n))
            matrix[:, offset[i] : offset[i + 1]] = self._modes[i].basis(x).T
            return matrix, self._modes[i].particular(x, self._sources[i])

        def hold(i: int, x: float, end: End, outwards: int) -> None:
            matrix, fixed = side(i, x)
            metal = self._modes[i].metal
            new, values = self._conditions(end, outwards, matrix, metal)
            known, _ = self._conditions(end, outwards, fixed, metal)
            rows.extend(new)
            rhs.extend(np.asarray(values) - np.asarray(known))

        hold(0, 0.0, self._ends[0], -1)
        for i, (left, right) in enumerate(itertools.pairwise(self._modes)):
            (ml, fl), (mr, fr) = side(i, left.layer.length), side(i + 1, 0.0)
            which = [T, Q]
            if left.metal and right.metal:
                which = list(range(6))
            elif left.metal or right.metal:
                m, f = (ml, fl) if left.metal else (mr, fr)
                rows.extend(m[[J_UP, J_DOWN]])
                rhs.extend(-f[[J_UP, J_DOWN]])
            misfit = functools.partial(self._interfaces[i].misfit, T0=self._modes[i].T0)
            # half of the heat made at the interface enters at either of its faces
            half = np.eye(6)[Q] * self._made[i] / 2
            rows.extend(misfit(ml, mr)[which])
            rhs.extend(-misfit(fl + half, fr - half)[which])
        hold(len(self._modes) - 1, self._modes[-1].layer.length, self._ends[1], 1)

        # Volts, kelvins and amperes per square metre meet here: natural units first, then an even size of the rows.
        columns = np.concatenate([m.units(self.edges[-1]) for m in self._modes])
        matrix, vector = np.array(rows) * columns, np.array(rhs)
        weights = 1 / np.abs(matrix).max(axis=1)
        matrix, vector = matrix * weights[:, None], vector * weights
        condition = np.linalg.cond(matrix)
        if not condition < 1e13:
            raise InputError(
                f"the stack is not determined (condition {condition:.0e}): hold V at one end at least (and T at one "
                "end), at both where a heat-only layer parts the metal; else its numbers are too far apart"
            )
        y = np.linalg.solve(matrix, vector)
        y = columns * (y + np.linalg.solve(matrix, vector - matrix @ y))
        return [y[offset[i] : offset[i + 1]] for i in range(len(self._modes))]

    def fields(self, x: Num | Sequence[float], *, side: Literal["left", "right"] = "right") -> np.ndarray:
        """V_up, V_down [V], T [K], J_up, J_down [A/m^2], Q [W/m^2] at x [m], shape (6, *x.shape).

        Potentials and currents are zero in heat-only layers. An x on an interface belongs to the layer on that side.
        """
        if side not in ("left", "right"):
            raise InputError(f"fields: side: got {side!r}, expected 'left' or 'right'")
        require("fields", {"x": x}, lists=["x"])
        x = np.asarray(x, dtype=float)
        require_within("fields", x, self.edges[-1])
        which = np.clip(np.searchsorted(self.edges, x, side=side) - 1, 0, len(self._modes) - 1)
        out = np.zeros((6, *x.shape))
        for i, (m, s, amplitudes) in enumerate(zip(self._modes, self._sources, self._amplitudes, strict=True)):
            here = which == i
            local = x[here] - self.edges[i]
            out[:, here] = np.tensordot(amplitudes, m.basis(local), 1) + m.particular(local, s)
        return out

    def V_up(self, x: Num | Sequence[float]) -> np.ndarray:
        """Potential of the up channel [V]."""
        return self.fields(x)[V_UP]

    def V_down(self, x: Num | Sequence[float]) -> np.ndarray:
        """Potential of the down channel [V]."""
        return self.fields(x)[V_DOWN]

    def V_c(self, x: Num | Sequence[float]) -> np.ndarray:
        """Mean potential (V_up + V_down)/2 [V], what a contact reads."""
        return self.fields(x)[[V_UP, V_DOWN]].mean(axis=0)

    def V_s(self, x: Num | Sequence[float]) -> np.ndarray:
        """Spin accumulation V_up - V_down [V]."""
        f = self.fields(x)
        return f[V_UP] - f[V_DOWN]

    def T(self, x: Num | Sequence[float]) -> np.ndarray:
        """Temperature rise [K]."""
        return self.fields(x)[T]

    def jump(self, number: int) -> np.ndarray:
        """Return the fields on the right of an interface less those on its left; 0 is the first one."""
        if not self._interfaces:
            raise InputError("jump: got a stack of one layer, expected one with an interface")
        number = require_whole("jump: number", number, 0, len(self._interfaces) - 1)
        x = self.edges[number + 1]
        return self.fields(x) - self.fields(x, side="left")

    def second_harmonic(self, zeta: float = 1.0) -> LayeredSolution:
        """Return the response to zeta times the Joule heat of this solution, ends held at zero: u_2 of docs/theory.md.

        If this is the response u_1 to a current I, then fields to second order are u_1 + u_2 (both for that I).
        """
        if any(s != _Source() for s in self._sources):
            raise InputError("second_harmonic starts from a stack without heat sources (Layer.heat = 0)")
        require("second_harmonic", {"zeta": zeta})
        sources = [_Source(*(zeta * np.array(m.joule(a)))) for m, a in zip(self._modes, self._amplitudes, strict=True)]
        made = [
            zeta * item.joule(self.fields(x, side="left"), self.fields(x), mode.T0)
            for item, x, mode in zip(self._interfaces, self.edges[1:-1], self._modes[:-1], strict=True)
        ]
        left, right = self._ends
        return LayeredSolution(self._modes, (left.homogeneous(), right.homogeneous()), sources, self._interfaces, made)


def layered_stack(
    layers: Sequence[Layer], left: End, right: End, *, T0: float, interfaces: Sequence[Interface | None] = ()
) -> LayeredSolution:
    """Charge, spin and heat transport through a stack of layers of equal cross-section, solved exactly.

    In each layer, with j the spin current and U = Q - S T0 J,

        J' = 0,  U' = heat,  V_s' = -R j + c U,  j' = -g V_s,  kappa_open T' = -U + T0 S_s j,
        R = 4(1+e)/(sigma (1-P^2)),  c = S_s/kappa_open,  e as in `dressed`,
        mean V: (1+P)/2 V_up + (1-P)/2 V_down = const - J x/sigma - S T,

    whose solutions are exponentials and polynomials; V_up, V_down, T, J_up, J_down and Q are continuous between layers
    without an interface. The amplitudes come from one dense linear system: exact to round-off (about 1e-12).

    Args:
      layers: from left to right; conducting layers that heat-only layers separate each need a separate held V, so that
        heat-only layers go first, last, or between two pieces of metal of which each has a V at its end of the stack.
      left, right: what is held at the two ends.
      T0: bath temperature [K]; must be positive where S or S_s act on heat, 0 switches the Peltier effects off.
      interfaces: between each layer and the next, None where all is continuous; left out: None everywhere.
    Returns:
      a LayeredSolution: `.fields(x)`, `.V_up(x)`, ..., `.second_harmonic(zeta)`.
    Raises:
      InputError: no layers, kappa or K that is not above 0 without current, ends that leave the fields open.
    Source: derived from Slachter et al. 2010, eq. 1-4, without Joule heat; see docs/theory.md.
    """
    layers = _listed("layers", layers, Layer, "a Layer")
    if not layers:
        raise InputError("layered_stack: got no layers, expected one at least")
    for name, end in (("left", left), ("right", right)):
        if not isinstance(end, End):
            raise InputError(f"layered_stack: {name}: got {end!r}, expected an End, such as End.grounded()")
    links = _listed("interfaces", interfaces, Interface | None, "an Interface or None")
    between = [item or TRANSPARENT for item in links] or [TRANSPARENT] * (len(layers) - 1)
    if len(between) != len(layers) - 1:
        raise InputError(
            f"interfaces: got {len(between)}, expected {len(layers) - 1}: one between each layer and the next"
        )
    # next to a heat-only layer K alone counts
    between = [
        item if one.sigma and other.sigma else Interface(K=item.K)
        for item, (one, other) in zip(between, itertools.pairwise(layers), strict=True)
    ]
    require("layered_stack", {"T0": T0})
    _require_heat_falls(layers, between, T0)
    sources = [_Source(layer.heat) for layer in layers]
    modes = [_LayerModes(layer, T0) for layer in layers]
    return LayeredSolution(modes, (left, right), sources, between, [0.0] * len(between))


def _listed(name: str, given: Any, kind: Any, words: str) -> list[Any]:
    """Return a list of layers or interfaces; refuse one alone, and anything else, counted from 0."""
    if isinstance(given, kind) or not isinstance(given, Iterable):
        raise InputError(f"layered_stack: {name}: got {given!r}, expected a list, each {words}")
    items = list(given)
    wrong = [
        f"layered_stack: {name}: got {item!r} at place {number}, expected a list, each {words}, counted from 0"
        for number, item in enumerate(items)
        if not isinstance(item, kind)
    ]
    if wrong:
        raise InputError(wrong)
    return items


def _require_heat_falls(layers: Sequence[Layer], between: Sequence[Interface], T0: float) -> None:
    """Refuse heat conductances that are not above 0 without current; layers and interfaces are counted from 0."""
    metals = {f"layer {number}": layer for number, layer in enumerate(layers) if layer.sigma}
    found = {
        where: heat_fault("kappa", m.kappa, open_circuit_kappa(m.sigma, m.P, m.S, m.S_s, m.kappa, T0))
        for where, m in metals.items()
    } | {f"interface {number}": heat_fault("K", item.K, item.open_K(T0)) for number, item in enumerate(between)}
    wrong = [f"layered_stack: {where}: {fault}" for where, fault in found.items() if fault is not None]
    if wrong:
        raise InputError(wrong)
