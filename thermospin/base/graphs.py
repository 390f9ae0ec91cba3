"""Pieces that a graph falls into."""

from __future__ import annotations

from typing import Any

import numpy as np


def components(count: int, pairs: Any) -> np.ndarray:
    """Return a number for each of `count` things; things in a pair (pairs, 2), or joined by other pairs, have one."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    tail, head = np.asarray(pairs, int).reshape(-1, 2).T
    links = coo_matrix((np.ones(len(tail), np.int8), (tail, head)), shape=(count, count))
    return np.asarray(connected_components(links, directed=False)[1])
