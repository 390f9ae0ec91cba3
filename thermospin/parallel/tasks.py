"""Tasks side by side: what they solve at the same time is solved in one program, shared out among groups of devices.

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
from typing import Any, Generic, Protocol, Self, TypeVar

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


class Shardable(Protocol):
    """What this module knows of a model: its size, and how it is split over accelerators."""

    @property
    def unknowns(self) -> int:
        """Number of unknowns."""

    @property
    def devices(self) -> int:
        """Accelerators that share a solve."""

    @property
    def members(self) -> int:
        """Groups of them, which solve for different parameters."""

    def on_devices(self, devices: int, members: int = 1) -> Self:
        """Split it otherwise."""


M = TypeVar("M", bound=Shardable)

#: Bytes per unknown that a further solve in a program takes: some 550 of temporaries were measured
#: (benchmarks/side_by_side.py), and its system, coefficients, right-hand sides and solutions are stacked.
PER_SOLVE = 1100
#: Part of the free memory that solves side by side may take.
SHARE = 0.5
#: More solves side by side than this gain nothing.
MOST = 16
#: Seconds that a worker has to end when it is stopped.
PATIENCE = 5.0


def _room(model: Shardable, split: int) -> float:
    """Return how many solves, each split over `split` devices, there is memory for; the same in all processes."""
    own = jax.local_devices()
    stats = own[0].memory_stats() if own[0].platform != "cpu" else None
    if stats:
        free = stats["bytes_limit"] - stats["bytes_in_use"]
    else:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // len(own)
    if jax.process_count() > 1:
        free = int(np.min(multihost_utils.process_allgather(np.array(free))))
    return SHARE * free * split / (PER_SOLVE * model.unknowns)


def capacity(model: Shardable) -> int:
    """Return how many concurrent tasks there is memory for, at most `MOST` in each group of devices.

    One on a lone CPU, which gains less from it than from starts from the fields before.
    """
    if model.members == 1 and jax.local_devices()[0].platform == "cpu":
        return 1
    return model.members * int(np.clip(_room(model, model.devices), 1, MOST))


def split_for(model: M, tasks: int, devices: int | None = None) -> M:
    """The model on its devices, or so many, in as many groups as there are tasks for, each of which solves on its own.

    A group has as few devices as hold a solve.
    """
    devices = model.devices * model.members if devices is None else devices
    splits = [n for n in range(1, devices + 1) if devices % n == 0 and devices // n <= tasks]
    split = next((n for n in splits if _room(model, n) >= 1), devices)
    return model.on_devices(split, devices // split)


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
                workers[-1].go_on(None)
            elif asking:
                for worker, answer in zip(asking, _answers([worker.request for worker in asking], size), strict=True):
                    worker.go_on(answer)
            else:
                return
    finally:
        for worker in workers:
            worker.stop()


class _Stopped(BaseException):
    """Ends a worker whose result nobody waits for."""


class _Worker(Generic[T]):
    """A task in a thread that runs only while somebody waits in `go_on`: a coroutine with an ordinary stack.

    Attributes:
      request: what it asks.
      done: whether it has ended.
      result: what it returned.
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

    def go_on(self, answer: Any) -> None:
        """Until its next request or its end, with the answer to the last request; raises what the task raises."""
        self._answer = answer
        self._turn.release()
        self._back.acquire()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Ends it at the request that it waits with; one that runs, as somebody was interrupted, at its next."""
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
        except BaseException as error:  # told to whoever waits
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
    """Solves all of them: those of one form in one program, filled up to a multiple of `size`."""
    found: list[tuple[Fields, Stats] | None] = [None] * len(requests)
    forms = [_form(each) for each in requests]
    for form in forms:
        alike = [k for k, other in enumerate(forms) if other == form and found[k] is None]
        for k, answer in zip(alike, _together([requests[k] for k in alike], size) if alike else (), strict=True):
            found[k] = answer
    return found  # type: ignore[return-value]


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

    # Also if it is one system for all: one program for both, and no slower on a CPU. Not in the program, which with an
    # argument for each array of each worker would take minutes to compile.
    whole = [each._replace(system=needed(each.system)) for each in filled]
    found = _program(jax.tree.map(stacked, *whole), len(whole))
    if mesh is not None:
        found = jax.tree.map(lambda leaf: leaf.addressable_data(0), found)
    return found[: len(requests)]


@eqx.filter_jit
def _program(requests: SolveRequest, count: int) -> list[tuple[Fields, Stats]]:
    """The answers to so many requests, stacked."""
    arrays, static = eqx.partition(requests, eqx.is_array)
    shards = requests.system.shards
    along = None if shards is None else MEMBERS
    found = jax.vmap(lambda each: solve.answer(eqx.combine(each, static)), spmd_axis_name=along)(arrays)
    if shards is not None:
        found = jax.lax.with_sharding_constraint(found, NamedSharding(shards.mesh, PartitionSpec()))
    return [jax.tree.map(lambda leaf, k=k: leaf[k], found) for k in range(count)]
