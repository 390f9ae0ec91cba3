"""Arrays of NumPy or of JAX: what is computed once is quicker in NumPy than compiled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

if TYPE_CHECKING:
    AnyArray = Array
else:
    #: At run time an array may be on the host, where it was made or is worked with.
    AnyArray = Array | np.ndarray


def namespace(*values: Any) -> Any:
    """Return NumPy where all values are its arrays or plain numbers, else jax.numpy."""
    return np if all(isinstance(value, np.ndarray | np.generic | float | int) for value in values) else jnp


def stack(values: Sequence[Any], axis: int = 0) -> Any:
    """Return arrays along a new axis.

    In NumPy, where that is not the first one, entries along the first axis then lie side by side in memory: of nodes
    there are many, of channels and columns few, and arithmetic is quick along many.
    """
    xp = namespace(*values)
    if xp is np and axis > 0:
        # NumPy would keep the order of the values, whatever that is.
        return nodes_first(np.ascontiguousarray(np.stack([nodes_last(value) for value in values], axis=axis - 1)))
    return xp.stack(values, axis=axis)


def nodes_last(values: Any) -> Any:
    """Return a view with the first axis last."""
    return np.moveaxis(values, 0, -1)


def nodes_first(values: Any) -> Any:
    """Return a view with the last axis first."""
    return np.moveaxis(values, -1, 0)


def concatenate(values: Sequence[Any]) -> Any:
    """Return arrays one after another, along their first axis."""
    return namespace(*values).concatenate(values)
