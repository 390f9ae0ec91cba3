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
    """Return arrays along a new axis."""
    return namespace(*values).stack(values, axis=axis)


def concatenate(values: Sequence[Any]) -> Any:
    """Return arrays one after another, along their first axis."""
    return namespace(*values).concatenate(values)
