"""Chains of the No-U-Turn sampler, some draws at a time: with progress, and kept on disk so that a stopped run resumes.

The sampler is numpyro's (Hoffman and Gelman, J. Mach. Learn. Res. 15, 1593 (2014)), its warm-up included; what is here
is the loop around it. All chains step together, along the second axis of a mesh where their model is on several groups
of devices; or each steps for itself, in a thread of its own, where one program would do their work in turn anyway.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from thermospin.base.errors import InputError
from thermospin.base.files import claim, read_arrays, require_place, write_arrays
from thermospin.base.kinds import require_whole
from thermospin.base.lenient import lenient
from thermospin.inference.journal import first_process, head_of, refusal
from thermospin.model import Progress
from thermospin.parallel.sharding import MEMBERS

#: Diagnostics of chains split each in two and need variances of both halves.
LEAST_DRAWS = 4
#: What a key of JAX is made of.
LARGEST_SEED = 2**63 - 1
#: Kept chains are of the same posterior where their potential is the same to this part of 1 + its size: round-off and
#: the tolerance of solves move it by less, and densities that agree to so much have the same draws within their noise.
SAME = 1e-3
#: Largest number of halvings of a start without a density.
HALVINGS = 30
#: What XLA says of chains that it cannot share out.
_UNEVEN = re.compile(r"dimension size (\d+) is not divisible by the manual axes size (\d+)")


class NoSampler(InputError, ImportError):
    """A numpyro that is not there, or does not go with this JAX."""


def require_numpyro() -> None:
    """Raise `NoSampler`, with what to install, where there is none."""
    try:
        import numpyro.infer  # noqa: F401
    except ImportError as error:
        missing = getattr(error, "name", None) == "numpyro"
        why = "which is not installed" if missing else f"which cannot be imported ({error})"
        raise NoSampler(f"a posterior needs numpyro, {why}: pip install 'thermospin[posterior]'") from None
    except AttributeError as error:  # a numpyro that is older than this JAX
        raise NoSampler(f"numpyro does not go with this JAX ({error}): pip install --upgrade numpyro") from None


def whole_numbers(draws: int, chains: int, warmup: int, seed: int) -> tuple[int, int, int, int]:
    """Return numbers of draws, chains and steps of warm-up, and the seed; refuse those that make no posterior."""
    return (
        require_whole("posterior: draws", draws, LEAST_DRAWS),
        require_whole("posterior: chains", chains, 1),
        require_whole("posterior: warmup", warmup, 0),
        require_whole("posterior: seed", seed, 0, LARGEST_SEED),
    )


@dataclasses.dataclass(frozen=True, eq=False)
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


class KeptChains:
    """Chains in a file, which is replaced as a whole; other processes are refused meanwhile, where there are locks.

    Args:
      path: of the file.
      question: text that identifies the posterior and its draws; chains of another one, or of another version of the
        program, are refused.
    Attributes:
      head: of the file, see `journal.head_of`.
      arrays: the sampler's state and what was drawn; None if there is no file yet.
    Raises:
      InputError: it is no path; the file is that of another posterior or version, or damaged; another process uses it.
      FileError: it cannot be read or written.
    """

    def __init__(self, path: str | Path, question: str) -> None:
        self._path = require_place("keep", path)
        self.head = head_of("chains", question)
        self._claim = claim(self._path, "give another file", beside=True) if first_process() else None
        self.arrays: list[np.ndarray] | None = None
        if self._path.exists():
            head, self.arrays = read_arrays(self._path)
            if head != self.head:
                # Files without a version have a text for a head.
                raise self.refusal({"thermospin chains": head} if isinstance(head, str) else head)

    def write(self, arrays: Sequence[np.ndarray]) -> None:
        """Replace the file."""
        if first_process():
            write_arrays(self._path, self.head, arrays)

    def refusal(self, head: Any) -> InputError:
        """Return the error of chains that are not those of this run, by the head of their file."""
        return refusal(self._path, "chains", head, "chains", "another posterior", "give another file")


def draw(
    potential: Callable[..., Any],
    starts: np.ndarray,
    warmup: int,
    draws: int,
    *,
    given: Any = None,
    seed: int = 0,
    together: int = 100,
    apart: bool = False,
    keep: KeptChains | None = None,
    progress: Progress | None = None,
) -> Drawn:
    """Draw chains from starts (chains, n), of a density exp(-potential).

    Args:
      potential: of what is given and one position (n,), in JAX.
      starts: where the chains begin.
      warmup, draws: steps in which the sampler finds its step and metric, and those that count.
      given: a pytree of arrays, or None. Where there is something, the potential is a function of a module, and its
        programs serve for everything else of the same shapes.
      seed: of the chains.
      together: number of steps in one program, after which progress is reported and the chains are kept.
      apart: whether each chain runs a program of its own, as many at a time as there are processors: a program for all
        of them takes, at every step, as long as the longest of their trajectories.
      keep: file for them; the same call resumes from there, to the same draws. Their potential says whether it is the
        same posterior, too.
      progress: callback for messages.
    Raises:
      InputError: the chains in the file are those of another posterior; no chain starts where there is a density.
      OSError: it cannot be written.
      ImportError: numpyro is not installed.
    """
    require_numpyro()
    chains, total = len(starts), warmup + draws
    keys = jax.random.split(jax.random.PRNGKey(seed), chains)
    make = _programs if given is None else _kept_programs
    begin, run, energies, like = make(potential, warmup, together, apart)
    forms, structure = jax.tree.flatten(in_clear_words(chains, lenient(jax.eval_shape), like, given, (keys, starts)))
    if keep is None or (kept := keep.arrays) is None:
        state, drawn = _first_state(functools.partial(begin, given), keys, starts), []
    else:
        state, drawn = jax.tree.unflatten(structure, map(jnp.asarray, kept[: len(forms)])), kept[len(forms) :]
        before, now = np.asarray(state.potential_energy), np.asarray(in_clear_words(chains, energies, given, state.z))
        if not np.all(np.abs(now - before) <= SAME * (1 + np.abs(before))):  # NaN compares as false
            raise keep.refusal(keep.head)
    while (done := drawn[0].shape[1] if drawn else 0) < total:
        if progress is not None:
            progress(f"NUTS: {chains} chains, step {done} of {warmup} + {draws}")
        state, more = in_clear_words(chains, lambda state: jax.device_get(run(given, state)), state)
        drawn = [np.concatenate(arrays, axis=1) for arrays in zip(drawn, more, strict=True)] if drawn else list(more)
        if keep is not None:
            keep.write([*jax.tree.leaves(state), *drawn])
    return Drawn(*(array[:, warmup:total] for array in drawn))


class _Programs(NamedTuple):
    """What `draw` runs, of what is given and, along the first axis of a pytree, of all chains.

    Attributes:
      begin: of keys and positions, the first state of the sampler.
      run: of a state, some steps: the last state, and positions, divergences and leapfrog steps.
      energies: of positions, their potentials.
      like: `begin`, not compiled.
    """

    begin: Callable[..., Any]
    run: Callable[..., Any]
    energies: Callable[..., Any]
    like: Callable[..., Any]


def _programs(potential: Callable[..., Any], warmup: int, together: int, apart: bool) -> _Programs:
    """Return the programs of a potential, see `draw`."""
    from numpyro.infer.hmc import hmc

    start, sample = hmc(potential_fn_gen=lambda given: functools.partial(potential, given), algo="NUTS")

    def first(given: Any, chain: tuple[Any, Any]) -> Any:
        key, z = chain
        return start(z, warmup, trajectory_length=None, dense_mass=True, model_args=(given,), rng_key=key)

    def steps(given: Any, state: Any) -> tuple[Any, Any]:
        def step(state: Any, _: None) -> tuple[Any, Any]:
            state = sample(state, model_args=(given,))
            return state, (state.z, state.diverging, state.num_steps)

        return jax.lax.scan(step, state, length=together)

    def energy(given: Any, z: Any) -> Any:
        # As in a step: solves without a gradient may be less exact.
        return jax.value_and_grad(functools.partial(potential, given))(z)[0]

    def of_chains(one: Callable[..., Any]) -> Callable[..., Any]:
        return jax.vmap(one, (None, 0), spmd_axis_name=MEMBERS)

    begin, run, energies = (
        _threads(one) if apart else lenient(jax.jit(of_chains(one))) for one in (first, steps, energy)
    )
    return _Programs(begin, run, energies, of_chains(first))


_kept_programs = functools.lru_cache(maxsize=4)(_programs)


def _threads(one: Callable[..., Any]) -> Callable[..., Any]:
    """Return what does for all chains, along the first axis of its last argument, what a function does for one."""
    program = lenient(jax.jit(one))

    def run(given: Any, of_chains: Any) -> Any:
        leaves, tree = jax.tree.flatten(jax.device_get(of_chains))
        chains = [jax.tree.unflatten(tree, parts) for parts in zip(*leaves, strict=True)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            results = list(pool.map(lambda chain: jax.device_get(program(given, chain)), chains))
        return jax.tree.map(lambda *arrays: np.stack(arrays), *results)

    return run


def _first_state(begin: Callable[..., Any], keys: Any, starts: np.ndarray) -> Any:
    """Return the sampler's state where all chains have a density: a start without one is moved towards the middle."""
    starts = np.array(starts)
    for _ in range(HALVINGS):
        # Waited for: memory runs out when it runs, not when it is called.
        state = in_clear_words(
            len(starts), lambda chains: jax.block_until_ready(begin(chains)), (keys, jnp.asarray(starts))
        )
        nowhere = ~np.isfinite(np.asarray(state.potential_energy))
        if not np.any(nowhere):
            return state
        starts[nowhere] /= 2
    raise InputError(
        f"posterior: {np.sum(nowhere)} of {len(starts)} chains have nowhere to start: the model has no finite chi2 "
        "near the minimum of the fit; look at its values there, or give wider bounds"
    )


def in_clear_words(chains: int, run: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a program of the sampler returns, its failures in words that say what to do."""
    try:
        return run(*arguments)
    except ValueError as error:
        if uneven := _UNEVEN.search(str(error)):
            raise InputError(
                f"posterior: {chains} chain{'s' * (chains > 1)} cannot be shared out over the {uneven[2]} groups of "
                f"accelerators of the model; expected a multiple of {uneven[2]}, or a model on one group"
            ) from None
        raise
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error) or "ut of memory" in str(error):
            raise MemoryError(
                f"out of memory with {chains} chains of the model side by side: give fewer chains or a model on fewer "
                "cells, or leave the model out, so that an emulator is sampled"
            ) from None
        raise
