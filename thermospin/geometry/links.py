"""Links: segments of length zero that join copies of nodes across faces, and what passes these faces in a probe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from thermospin.geometry.doubling import Rule
from thermospin.geometry.faces import Faces
from thermospin.geometry.reactions import Around, summed
from thermospin.geometry.segments import Segments


class Crossing(NamedTuple):
    """The test function of a reaction that passes from some solids to others: nodes and factors, for V and for T."""

    V: tuple[np.ndarray, np.ndarray]
    T: tuple[np.ndarray, np.ndarray]


class Links(NamedTuple):
    """What joins copies of nodes.

    Attributes:
      segments: the links along x, y and z; weights are twice their areas [m^2] (links, columns).
      ports: node that each port belongs to; ports are nodes that come after all others (ports,).
      crossings: of the rule's pairs.
    """

    segments: tuple[Segments, ...]
    ports: np.ndarray
    crossings: tuple[Crossing, ...]

    def areas(self, nodes: int) -> csr_array:
        """Return the area of the links that end at each of some nodes, by column [m^2] (nodes, columns)."""
        total = csr_array((nodes, self.segments[0].weights.shape[1]))
        for link in self.segments:
            for end in link.nodes:
                picks = csr_array((np.ones(len(end)), (end, np.arange(len(end)))), shape=(nodes, len(end)))
                total = total + picks @ link.weights / 2
        return csr_array(total)


def links_across(faces: Faces, rule: Rule, place: np.ndarray, open_ended: np.ndarray) -> Links:
    """Return links across split faces.

    Args:
      faces: the faces between solids.
      rule: columns of links, and the crossings that are wanted.
      place: tensor node of each node (nodes,).
      open_ended: marks nodes where a current may leave to the outside (nodes,).
    """
    column = rule.column[faces.before, faces.behind]
    ends, ports, of_crossing = _with_ports(faces, column >= 0, rule.crossings, len(place))
    segments = []
    for direction in range(3):
        linked = np.flatnonzero((faces.axis == direction) & (column >= 0) & (faces.tails != faces.heads))
        pairs, row = np.unique(ends[:, linked], axis=1, return_inverse=True)
        entries = (2 * faces.areas[linked], (row.ravel(), column[linked]))
        weights = csr_array(entries, shape=(pairs.shape[1], rule.columns))
        segments.append(Segments(direction, 1, pairs, weights, link=True))
    around = Around(faces, place, ports, open_ended)
    crossings = []
    for (first, second), own in zip(rule.crossings, of_crossing, strict=True):
        tests = []
        for jumps, among in ((rule.jump_V, rule.metal), (rule.jump_T, np.ones_like(rule.metal))):
            jumping = jumps[faces.before, faces.behind] & (column >= 0)
            nodes, factors = around.test(~jumping & among[faces.before] & among[faces.behind], first, second)
            # Reactions at ports of links across which nothing jumps are zero.
            tests.append(summed(np.concatenate([nodes, own]), np.concatenate([factors, np.ones(len(own))])))
        crossings.append(Crossing(*tests))
    return Links(tuple(segments), ports, tuple(crossings))


def _with_ports(
    faces: Faces, linked: np.ndarray, crossings: Sequence[tuple[tuple[int, ...], tuple[int, ...]]], size: int
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Return ends of links (2, faces), where those of a crossing end at ports of their own: what passes is a reaction.

    Args:
      faces: the faces between solids.
      linked: marks those with links.
      crossings: pairs of groups of solids; ports are on the side of the second one.
      size: number of nodes, after which ports are numbered.
    Returns:
      the ends, the node that each port belongs to, and the ports of each crossing.
    """
    ends = np.stack([faces.tails, faces.heads])
    ports: list[int] = []
    of_crossing = []
    for first, second in crossings:
        start = size + len(ports)
        for side, of_end, of_other in ((1, faces.behind, faces.before), (0, faces.before, faces.behind)):
            here = np.flatnonzero(np.isin(of_end, second) & np.isin(of_other, first) & linked)
            owns, which = np.unique(ends[side, here], return_inverse=True)
            ends[side, here] = size + len(ports) + which
            ports += owns.tolist()
        of_crossing.append(np.arange(start, size + len(ports)))
    return ends, _roots(np.array(ports, int), size), of_crossing


def _roots(ports: np.ndarray, size: int) -> np.ndarray:
    """Return the node that each port belongs to; a link may have a port that belongs to an earlier port."""
    out = ports.copy()
    while np.any(out >= size):
        out = np.where(out >= size, ports[np.maximum(out - size, 0)], out)
    return out
