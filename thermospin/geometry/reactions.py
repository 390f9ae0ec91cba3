"""What passes the faces between solids, from the residuals of the copies of their nodes: conservative fluxes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from thermospin.geometry.faces import Faces


def summed(nodes: np.ndarray, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return every node once, with the sum of its factors."""
    unique, row = np.unique(nodes, return_inverse=True)
    return unique, np.bincount(row.ravel(), factors, len(unique))


@dataclasses.dataclass(frozen=True, eq=False)
class Around:
    """Copies of nodes around faces.

    Attributes:
      faces: between copies, node by node.
      place: tensor node of each copy.
      ports: copy that each port belongs to.
      open_ended: marks copies from which a current may leave to the outside.
    """

    faces: Faces
    place: np.ndarray
    ports: np.ndarray
    open_ended: np.ndarray

    def test(self, smooth: np.ndarray, first: Sequence[int], second: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return nodes and factors whose sum with the residuals is what passes across faces without a jump.

        Around a node each copy has its residual r, what leaves its cells; they sum to zero. It is shared out among
        faces by their areas a, as least squares do: from g to h goes a_gh (p_g - p_h), with p of the equations
        sum_h a_gh (p_g - p_h) = r_g. So flows are antisymmetric, and those out of a solid sum to what leaves it. On a
        held face the outside is one copy more, whose residual is minus the sum of all others.
        """
        faces, place_of_face = self.faces, self.place[self.faces.tails]
        leads = np.isin(faces.before, first) & np.isin(faces.behind, second)
        comes = np.isin(faces.before, second) & np.isin(faces.behind, first)
        apart = smooth & (faces.tails != faces.heads)
        wanted = np.unique(place_of_face[apart & (leads | comes)])
        near = np.flatnonzero(apart & np.isin(place_of_face, wanted))
        near = near[np.argsort(place_of_face[near], kind="stable")]
        starts = np.flatnonzero(np.append(True, np.diff(place_of_face[near]) > 0)[: len(near)])
        nodes, factors = [], []
        for here in np.split(near, starts[1:]) if len(near) else ():
            copies, local = np.unique(np.stack([faces.tails[here], faces.heads[here]]), return_inverse=True)
            g, h = local.reshape(2, -1)
            leaving = np.flatnonzero(self.open_ended[copies])
            outside = len(copies)
            matrix = np.zeros((outside + 1,) * 2)
            scale = float(faces.areas[here].max())
            for one, other, weight in (
                (g, h, faces.areas[here] / scale),
                (leaving, np.full_like(leaving, outside), np.ones(len(leaving))),
            ):
                np.add.at(matrix, (one, one), weight)
                np.add.at(matrix, (other, other), weight)
                np.add.at(matrix, (one, other), -weight)
                np.add.at(matrix, (other, one), -weight)
            potential = np.linalg.pinv(matrix, hermitian=True)
            sign = leads[here].astype(float) - comes[here]
            flow = (sign * faces.areas[here] / scale) @ (potential[g] - potential[h])
            nodes.append(copies)
            factors.append(flow[:outside] - (flow[outside] if len(leaving) else 0.0))
        if not nodes:
            return np.zeros(0, int), np.zeros(0)
        at, values = np.concatenate(nodes), np.concatenate(factors)
        of_copy = np.zeros(len(self.place))
        of_copy[at] = values
        behind = np.flatnonzero(of_copy[self.ports])
        return (
            np.concatenate([at, len(self.place) + behind]),
            np.concatenate([values, of_copy[self.ports[behind]]]),
        )
