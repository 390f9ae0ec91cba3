"""A wrapper that runs code of other libraries under JAX's default promotion rules, whatever the user has set."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def lenient(function: Callable[P, T]) -> Callable[P, T]:
    """Wrap a function so that it may mix types and ranks of arrays, as optax and numpyro do."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        import jax

        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return function(*args, **kwargs)

    return run
