"""Chains of the No-U-Turn sampler, some draws at a time: with progress, and kept on disk so that a stopped run resumes.

The sampler is numpyro's (Hoffman and Gelman, J. Mach. Learn. Res. 15, 1593 (2014)), its warm-up included; what is here
is the loop around it. All chains step together, along the second axis of a mesh where their model is on several groups
of devices.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from thermospin.base.errors import InputError
from thermospin.base.files import read_arrays, write_arrays
from thermospin.base.lenient import lenient
from thermospin.model import Progress
from thermospin.parallel.sharding import MEMBERS


def require_numpyro() -> None:
    """Raise ImportError, with what to install, where there is none."""
    try:
        import numpyro  # noqa: F401
    except ImportError:
        raise ImportError("a posterior needs numpyro: pip install 'thermospin[posterior]'") from None


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Draws of the chains.

    Attributes:
      z: positions (chains, draws, n).
      diverging: whether a trajectory went astray (chains, draws).
      steps: leapfrog steps of each (chains, draws).
    """

    z: np.ndarray
    diverging: np.ndarray
    steps: np.ndarray


def draw(
    potential: Callable[[Any], Any],
    starts: np.ndarray,
    warmup: int,
    draws: int,
    *,
    seed: int = 0,
    together: int = 100,
    keep: str | Path | None = None,
    problem: str = "",
    progress: Progress | None = None,
) -> Drawn:
    """Draw chains from starts (chains, n), of a density exp(-potential).

    Args:
      potential: of one position (n,), in JAX.
      starts: where the chains begin.
      warmup, draws: steps in which the sampler finds its step and metric, and those that count.
      seed: of the chains.
      together: number of steps in one program, after which progress is reported and the chains are kept.
      keep: file for them; the same call resumes from there, to the same draws.
      problem: text that identifies what is drawn from.
      progress: callback for messages.
    Raises:
      ValueError: the file is that of another problem, or damaged.
      OSError: it cannot be written.
      ImportError: numpyro is not installed.
    """
    require_numpyro()
    from numpyro.infer import NUTS

    chains, total = len(starts), warmup + draws
    kernel = NUTS(potential_fn=potential, dense_mass=True)
    keys = jax.random.split(jax.random.PRNGKey(seed), chains)
    of_chains = functools.partial(jax.vmap, spmd_axis_name=MEMBERS)
    begin = of_chains(lambda key, z: kernel.init(key, warmup, z))

    def step(state: Any, _: None) -> tuple[Any, Any]:
        state = kernel.sample(state, (), {})
        return state, (state.z, state.diverging, state.num_steps)

    run = lenient(jax.jit(of_chains(lambda state: jax.lax.scan(step, state, length=together))))
    forms, structure = jax.tree.flatten(lenient(jax.eval_shape)(begin, keys, starts))
    asked = hashlib.sha256(repr((starts.tolist(), warmup, seed, together, problem)).encode()).hexdigest()
    kept = None if keep is None else _kept(Path(keep), asked)
    if kept is None:
        state, seen = lenient(jax.jit(begin))(keys, jnp.asarray(starts)), []
    else:
        state, seen = jax.tree.unflatten(structure, map(jnp.asarray, kept[: len(forms)])), kept[len(forms) :]
    while (done := seen[0].shape[1] if seen else 0) < total:
        if progress is not None:
            progress(f"NUTS: {chains} chains, step {done} of {warmup} + {draws}")
        state, more = jax.device_get(run(state))
        seen = [np.concatenate(part, axis=1) for part in zip(seen, more, strict=True)] if seen else list(more)
        if keep is not None:
            write_arrays(keep, asked, [*jax.tree.leaves(state), *seen])
    return Drawn(*(array[:, warmup:total] for array in seen))


def _kept(path: Path, asked: str) -> list[np.ndarray] | None:
    """Return the sampler's state and what was drawn; None if there is no file yet."""
    if not path.exists():
        return None
    kept, arrays = read_arrays(path)
    if kept != asked:
        raise InputError(f"{path}: got chains of another posterior, expected those of this one; give another file")
    return arrays
