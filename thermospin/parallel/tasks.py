"""Run tasks concurrently and batch their linear solves into one program, distributed over groups of accelerators.

A task is ordinary code: a search, a fit from another start, a device with other dimensions. Each runs in a worker, a
thread that runs only while no other does, until it asks for a solve; when all workers wait, their solves are answered
together, as one program for many right-hand sides on as many grids, along the second axis of the mesh (`MEMBERS`). So
tasks need not know of each other, and what they do comes in one order, whatever the machine does: several processes
that run the same tasks stay in step. A solve that has converged stands still, so that no answer depends on another.
"""

from __future__ import annotations

import collections
import dataclasses
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, Protocol, Self, TypeVar, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

from thermospin import solve
from thermospin.operators import Fields
from thermospin.parallel.sharding import MEMBERS, on_mesh
from thermospin.solve import Solver, SolveRequest, Stats, System

T = TypeVar("T")


@runtime_checkable
class Shardable(Protocol):
    """A model as this module sees it: its size, and its split over accelerators."""

    @property
    def unknowns(self) -> int:
        """Number of unknowns."""

    @property
    def shards(self) -> int:
        """Accelerators that share a solve."""

    @property
    def members(self) -> int:
        """Groups of them, which solve for different parameters."""

    def sharded(self, shards: int, members: int = 1) -> Self:
        """Split it otherwise."""


M = TypeVar("M", bound=Shardable)

#: Memory per unknown of each extra solve in a batch [B]: 550 of temporaries (benchmarks/side_by_side.py), the rest for
#: stacked systems, coefficients, right-hand sides and solutions.
PER_SOLVE = 1100
#: Part of the free memory that a batch of solves may take.
SHARE = 0.5
#: A larger batch than this gains nothing.
MOST = 16
#: Seconds that a worker has to end when it is stopped.
PATIENCE = 5.0


def _free_memory() -> int:
    """Return free memory [bytes]; 4 GiB where the system does not tell, as outside of Linux."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 4 << 30


def _room(model: Shardable, split: int) -> float:
    """Return how many solves, each split over `split` accelerators, memory holds; the same in all processes."""
    local = jax.local_devices()
    stats = local[0].memory_stats() if local[0].platform != "cpu" else None
    if stats:
        free = stats["bytes_limit"] - stats["bytes_in_use"]
    else:
        free = _free_memory() // len(local)
    if jax.process_count() > 1:
        free = int(np.min(multihost_utils.process_allgather(np.array(free))))
    return SHARE * free * split / (PER_SOLVE * model.unknowns)


def capacity(model: Shardable) -> int:
    """Return how many concurrent tasks there is memory for, at most `MOST` in each group of accelerators.

    1 on a single CPU, where warm starts save more than batching.
    """
    if model.members == 1 and jax.local_devices()[0].platform == "cpu":
        return 1
    return model.members * int(np.clip(_room(model, model.shards), 1, MOST))


def split_for(model: M, tasks: int, shards: int | None = None) -> M:
    """Split the accelerators into groups, one task each; a group is as small as memory allows.

    Args:
      model: what they solve.
      tasks: number of tasks; more groups are not made.
      shards: accelerators in all; None: those of the model.
    """
    shards = model.shards * model.members if shards is None else shards
    splits = [n for n in range(1, shards + 1) if shards % n == 0 and shards // n <= tasks]
    split = next((n for n in splits if _room(model, n) >= 1), shards)
    return model.sharded(split, shards // split)


def run_batched(tasks: Iterable[Callable[[Solver | None], T]], size: int, solver: Solver | None = None) -> Iterator[T]:
    """Yield what tasks return, in their order, as soon as it is known; an exception of one of them ends all.

    Args:
      tasks: each is called with the solver that it hands down to `solve.solve`.
      size: number of tasks that run concurrently; 1: sequentially, without workers.
      solver: for sequential tasks; None: the solver itself.
    """
    if size == 1:
        for task in tasks:
            yield task(solver)
        return
    rest = iter(tasks)
    workers: collections.deque[_Worker[T]] = collections.deque()
    try:
        while True:
            while workers and workers[0].done:
                yield workers.popleft().result
            asking = [worker for worker in workers if not worker.done]
            if len(asking) < size and (begun := next(rest, None)) is not None:
                workers.append(_Worker(begun))
                workers[-1].resume(None)
            elif asking:
                for worker, answer in zip(asking, _answers([worker.request for worker in asking], size), strict=True):
                    worker.resume(answer)
            else:
                return
    finally:
        for worker in workers:
            worker.stop()


class _Stopped(BaseException):
    """Ends a worker whose result is not needed."""


class _Worker(Generic[T]):
    """A task in a thread that runs only while the main thread waits in `resume`: a coroutine with an ordinary stack.

    Attributes:
      request: the solve that it waits for.
      done: whether it has ended.
      result: the value that the task returned.
    """

    request: SolveRequest
    result: T

    def __init__(self, task: Callable[[Solver | None], T]) -> None:
        self.done, self._stop, self._task = False, False, task
        self._answer: Any = None
        self._error: BaseException | None = None
        self._turn, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def resume(self, answer: Any) -> None:
        """Run until its next request or its end, with the answer to the last request; raise what the task raises."""
        self._answer = answer
        self._turn.release()
        self._back.acquire()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """End it at the request that it waits for; one that still runs, after an interrupt, at its next."""
        self._stop = True
        self._turn.release()
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        self._turn.acquire()
        try:
            if not self._stop:
                self.result = self._task(self._ask)
        except _Stopped:
            pass
        except BaseException as error:  # raised in `resume`
            self._error = error
        self.done = True
        self._back.release()

    def _ask(self, request: SolveRequest) -> tuple[Fields, Stats]:
        self.request = request
        self._back.release()
        self._turn.acquire()
        if self._stop:
            raise _Stopped
        return self._answer


def _answers(requests: Sequence[SolveRequest], size: int) -> list[tuple[Fields, Stats]]:
    """Solve all of them: those of one form in one program, filled up to a multiple of `size`."""
    answers: list[tuple[Fields, Stats] | None] = [None] * len(requests)
    forms = [_form(request) for request in requests]
    for form in forms:
        alike = [k for k, other in enumerate(forms) if other == form and answers[k] is None]
        for k, answer in zip(alike, _together([requests[k] for k in alike], size) if alike else (), strict=True):
            answers[k] = answer
    return answers  # type: ignore[return-value]


def _form(request: SolveRequest) -> Any:
    leaves, structure = jax.tree.flatten(request)
    return structure, [(np.shape(leaf), getattr(leaf, "dtype", None)) for leaf in leaves]


def _together(requests: Sequence[SolveRequest], size: int) -> list[tuple[Fields, Stats]]:
    first = requests[0]
    mesh = None if first.system.shards is None else first.system.shards.mesh
    members = 1 if mesh is None else mesh.shape[MEMBERS]
    nothing = first._replace(b=jnp.zeros_like(first.b), guess=jnp.zeros_like(first.b))
    filled = [*requests, *[nothing] * (-(-size // members) * members - len(requests))]

    def needed(system: System) -> System:
        if mesh is None:
            return system
        return dataclasses.replace(system, disc=None, mg=(), held=())  # type: ignore[arg-type]

    def stacked(*leaves: Any) -> Any:
        whole = jnp.stack(leaves)
        if mesh is None:
            return whole
        spread = NamedSharding(mesh, PartitionSpec(MEMBERS))
        return on_mesh(whole, spread) if whole.is_fully_addressable else jax.device_put(whole, spread)

    # Stacked even if all have one system: one program for both cases, and no slower on a CPU. Stacked outside of the
    # program, which with an argument for each array of each worker would take minutes to compile.
    whole = [request._replace(system=needed(request.system)) for request in filled]
    answers = _program(jax.tree.map(stacked, *whole), len(whole))
    if mesh is not None:
        answers = jax.tree.map(lambda leaf: leaf.addressable_data(0), answers)
    return answers[: len(requests)]


@eqx.filter_jit
def _program(requests: SolveRequest, count: int) -> list[tuple[Fields, Stats]]:
    """Return the answers to `count` stacked requests."""
    arrays, static = eqx.partition(requests, eqx.is_array)
    shards = requests.system.shards
    along = None if shards is None else MEMBERS
    answers = jax.vmap(lambda request: solve.answer(eqx.combine(request, static)), spmd_axis_name=along)(arrays)
    if shards is not None:
        answers = jax.lax.with_sharding_constraint(answers, NamedSharding(shards.mesh, PartitionSpec()))
    return [jax.tree.map(lambda leaf, k=k: leaf[k], answers) for k in range(count)]
