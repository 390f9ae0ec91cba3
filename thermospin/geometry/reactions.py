"""What passes the faces between solids, from the residuals of the copies of their nodes: conservative fluxes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np


def summed(nodes: np.ndarray, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return every node once, with the sum of its factors."""
    unique, row = np.unique(nodes, return_inverse=True)
    return unique, np.bincount(row.ravel(), factors, len(unique))


@dataclasses.dataclass(frozen=True, eq=False)
class Around:
    """The faces between copies of nodes.

    Attributes:
      tail, head: copies on either side of each face, node by node.
      area: of it [m^2].
      one, other: solids on either side.
      place: tensor node of each copy.
      root: copy that each port belongs to.
      open_ended: marks copies from which a current may leave to the outside.
    """

    tail: np.ndarray
    head: np.ndarray
    area: np.ndarray
    one: np.ndarray
    other: np.ndarray
    place: np.ndarray
    root: np.ndarray
    open_ended: np.ndarray

    def test(self, smooth: np.ndarray, first: Sequence[int], second: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return nodes and factors whose sum with the residuals is what passes across faces without a jump.

        Around a node each copy has its residual r, what leaves its cells; they sum to zero. It is shared out among
        faces by their areas a, as least squares do: from g to h goes a_gh (p_g - p_h), with p of the equations
        sum_h a_gh (p_g - p_h) = r_g. So flows are antisymmetric, and those out of a solid sum to what leaves it. On a
        held face the outside is one copy more, whose residual is minus the sum of all others.
        """
        leads = np.isin(self.one, first) & np.isin(self.other, second)
        comes = np.isin(self.one, second) & np.isin(self.other, first)
        apart = smooth & (self.tail != self.head)
        wanted = np.unique(self.place[self.tail[apart & (leads | comes)]])
        near = np.flatnonzero(apart & np.isin(self.place[self.tail], wanted))
        near = near[np.argsort(self.place[self.tail[near]], kind="stable")]
        starts = np.flatnonzero(np.append(True, np.diff(self.place[self.tail[near]]) > 0)[: len(near)])
        nodes, factors = [], []
        for here in np.split(near, starts[1:]) if len(near) else ():
            copies, local = np.unique(np.stack([self.tail[here], self.head[here]]), return_inverse=True)
            g, h = local.reshape(2, -1)
            leaving = np.flatnonzero(self.open_ended[copies])
            outside = len(copies)
            matrix = np.zeros((outside + 1,) * 2)
            scale = float(self.area[here].max())
            for one, other, weight in (
                (g, h, self.area[here] / scale),
                (leaving, np.full_like(leaving, outside), np.ones(len(leaving))),
            ):
                np.add.at(matrix, (one, one), weight)
                np.add.at(matrix, (other, other), weight)
                np.add.at(matrix, (one, other), -weight)
                np.add.at(matrix, (other, one), -weight)
            potential = np.linalg.pinv(matrix, hermitian=True)
            sign = leads[here].astype(float) - comes[here]
            flow = (sign * self.area[here] / scale) @ (potential[g] - potential[h])
            nodes.append(copies)
            factors.append(flow[:outside] - (flow[outside] if len(leaving) else 0.0))
        if not nodes:
            return np.zeros(0, int), np.zeros(0)
        at, values = np.concatenate(nodes), np.concatenate(factors)
        of_copy = np.zeros(len(self.place))
        of_copy[at] = values
        behind = np.flatnonzero(of_copy[self.root] != 0) if len(self.root) else np.zeros(0, int)
        return (
            np.concatenate([at, len(self.place) + behind]),
            np.concatenate([values, of_copy[self.root[behind]]]),
        )
