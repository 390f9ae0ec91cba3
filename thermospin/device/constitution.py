"""The constitutive law: from parameters and magnetic state to the coefficients of every domain and every link.

The weights of a grid have a column for each domain (material and magnet), then one for each kind of link: joints, where
an interface lies between certain magnets, and faces that exchange heat with the bath.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Array, Float

from thermospin.base.arrays import AnyArray, namespace, stack
from thermospin.quantities import COEFFICIENTS, MATERIAL

Scalar = float | Float[Array, ""] | Float[np.ndarray, ""]
#: Values of everything that can be fitted, by name ("Py.S_s", "zeta"), in SI units: see `Device.parameters`.
Parameters = Mapping[str, Scalar]
#: +1 or -1 for every magnet of a device, as arrays: other states are not another program.
Signs = Mapping[str, Scalar]


@dataclasses.dataclass(frozen=True)
class Joint:
    """An interface between two magnets, or a magnet or none and none.

    Attributes:
      interface: its name.
      magnets: of its first and its second side.
      keys: the values that it has.
    """

    interface: str
    magnets: tuple[str | None, str | None]
    keys: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Constitution:
    """The map from parameters and magnetic state to the constitutive law of every column; hashable.

    Attributes:
      domains: pairs (material, magnet).
      metals: whether each domain conducts charge.
      bath: bath temperature [K].
      joints: interfaces that the device has.
      faces: names of contacts and heat sinks that exchange heat with the bath at a finite rate.
    """

    domains: tuple[tuple[str, str | None], ...]
    metals: tuple[bool, ...]
    bath: float
    joints: tuple[Joint, ...] = ()
    faces: tuple[str, ...] = ()

    @property
    def conducts(self) -> np.ndarray:
        """Mark the columns that conduct charge."""
        return np.array([*self.metals, *("RA" in joint.keys for joint in self.joints), *[False] * len(self.faces)])

    @property
    def columns(self) -> int:
        """Number of columns."""
        return len(self.domains) + len(self.joints) + len(self.faces)

    def column_of_face(self, name: str) -> int:
        """Return the column of a face that exchanges heat with the bath."""
        return len(self.domains) + len(self.joints) + self.faces.index(name)

    @property
    def magnets(self) -> tuple[tuple[str, ...], ...]:
        """The magnets that reverse something in each column."""
        sides = [(magnet,) for _, magnet in self.domains] + [joint.magnets for joint in self.joints]
        named = [tuple(name for name in side if name is not None) for side in sides]
        return (*named, *[()] * len(self.faces))

    def table(self, parameters: Parameters, signs: Mapping[str, Scalar]) -> dict[str, Float[AnyArray, " columns"]]:
        """Return the entries of G, of the Joule form and of the relaxation, for each column.

        sigma_up,down = sigma (1 +- P)/2;  S_up = S + (1 - P)/2 S_s;  S_down = S - (1 + P)/2 S_s;
        g = (1 - P^2) sigma / (4 lambda_sf^2);  the heat row is divided by the bath temperature (docs/theory.md, 3).

        Args:
          parameters: values of materials, interfaces and faces in SI units.
          signs: +1 or -1 for each magnet, +1 where none is given; -1 reverses P and S_s.
        Returns:
          for each name in `COEFFICIENTS` an array (columns,).
        Source: Slachter et al. 2010, eq. 1 to 4.
        """
        rows: list[tuple[Scalar, ...]] = []
        for (material, magnet), metal in zip(self.domains, self.metals, strict=True):
            if not metal:
                rows.append(self._heat_only(parameters[f"{material}.kappa"]))
                continue
            sign = 1 if magnet is None else signs.get(magnet, 1)
            values = {
                key: sign * parameters[f"{material}.{key}"] if row.reverses else parameters[f"{material}.{key}"]
                for key, row in MATERIAL.items()
            }
            sigma, P, length = values["sigma"], values["P"], values["lambda_sf"]
            relaxation = (1 - P * P) * sigma / (4 * length * length)
            channels = sigma * (1 + P) / 2, sigma * (1 - P) / 2
            rows.append(self._two_channels(channels, P, values["S"], values["S_s"], values["kappa"], relaxation))
        rows += [self._joint(joint, parameters, signs) for joint in self.joints]
        rows += [self._heat_only(parameters[f"{name}.h"]) for name in self.faces]
        columns = zip(*rows, strict=True)
        asarray = namespace(*(entry for row in rows for entry in row)).asarray
        return {
            name: stack([asarray(entry, float) for entry in column])
            for name, column in zip(COEFFICIENTS, columns, strict=True)
        }

    def _heat_only(self, conductance: Scalar) -> tuple[Scalar, ...]:
        return 0.0, 0.0, 0.0, 0.0, conductance / self.bath, 0.0, 0.0, 0.0

    def _two_channels(
        self, channels: tuple[Scalar, Scalar], P: Scalar, S: Scalar, S_s: Scalar, heat: Scalar, relaxation: Scalar
    ) -> tuple[Scalar, ...]:
        """Return the entries of conductances of two channels of polarisation P, Seebeck coefficients and heat."""
        up, down = channels
        S_up, S_down = S + (1 - P) / 2 * S_s, S - (1 + P) / 2 * S_s
        carried = up * S_up * S_up + down * S_down * S_down
        return up, down, up * S_up, down * S_down, heat / self.bath, carried, relaxation, 0.0

    def _flipping(self, row: tuple[Scalar, ...], P: Scalar, S_s: Scalar, delta: Scalar) -> tuple[Scalar, ...]:
        """Return the entries of a joint with those of a layer in which spins relax, delta = thickness/lambda_sf.

        The layer's mean potential conducts as without relaxation; its V_s obeys V_s'' = V_s/lambda_sf^2 with
        conductance c = G (1 - P^2)/4: c delta/sinh(delta) from end to end, and c delta tanh(delta/2) at each end. Where
        S_s couples it to the heat, with e = T0 c S_s^2/K_o and K_o at zero current, delta grows by sqrt(1 + e).
        Source: Valet and Fert, Phys. Rev. B 48, 7099 (1993), eq. 14, for a layer whose thickness goes to zero.
        """
        up, down, uT, dT, heat, carried, _, _ = row
        whole = up + down
        spin = whole * (1 - P * P) / 4
        open_circuit = heat - carried
        xp = namespace(spin, S_s, delta, open_circuit)
        e = xp.where(open_circuit > 0, spin * S_s * S_s / xp.where(open_circuit > 0, open_circuit, 1.0), 0.0)
        x = xp.asarray(delta, float) * xp.sqrt(1 + e)
        # By its series where x is small, so that derivatives at 0 are right.
        large = x > 1e-3
        safe = xp.where(large, x, 1.0)
        decay = xp.exp(-safe)  # in place of sinh, which overflows
        passing = spin * (xp.where(large, -2 * safe * decay / xp.expm1(-2 * safe), 1 - x * x / 6) + e) / (1 + e)
        uu, dd, ud = whole * (1 + P) ** 2 / 4 + passing, whole * (1 - P) ** 2 / 4 + passing, spin - passing
        return uu, dd, uT, dT, heat, carried, spin * x * xp.tanh(x / 2) / (1 + e), ud

    def _joint(self, joint: Joint, parameters: Parameters, signs: Mapping[str, Scalar]) -> tuple[Scalar, ...]:
        """Return the entries of a joint, per area.

        G_up,down = (1 +- P1)(1 +- P2)/(2 RA), where gamma is the P of the one magnetic side.
        Source: docs/theory.md, section 10.
        """
        given = {key: parameters[f"{joint.interface}.{key}"] for key in joint.keys}
        heat = given.get("K", 0.0)
        if "RA" not in given:
            return self._heat_only(heat)
        of_sides = [1 if magnet is None else signs.get(magnet, 1) for magnet in joint.magnets]
        sign = of_sides[0] if joint.magnets[0] is not None else of_sides[1]
        P1: Scalar
        P2: Scalar
        P1, P2 = (side * given.get(key, 0.0) for side, key in zip(of_sides, ("P1", "P2"), strict=True))
        if "gamma" in given:
            P1, P2 = sign * given["gamma"], 0.0
        up, down = ((1 + s * P1) * (1 + s * P2) / (2 * given["RA"]) for s in (1, -1))
        P = (up - down) / (up + down)
        S: Scalar = given.get("S", 0.0)
        if "S_AP" in given:
            parallel = (1 + of_sides[0] * of_sides[1]) / 2
            S = parallel * S + (1 - parallel) * given["S_AP"]
        S_s = sign * given.get("S_s", 0.0)
        row = self._two_channels((up, down), P, S, S_s, heat, 0.0)
        return self._flipping(row, P, S_s, given["delta"]) if "delta" in given else row
