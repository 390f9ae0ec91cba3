"""Programs: compiled quickly where there is little to do, and kept with all that it takes to run them again.

JAX's own cache of compiled programs is looked up by what a function is lowered to. To trace and lower it takes longer
here than the solves of a small device. So where programs are kept (`programs.keep_programs`), those of this module are
kept by the arguments of the function, the sources of this package and the versions of what compiled them.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import hashlib
import itertools
import os
import pickle
import platform
import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import serialize_executable

from thermospin.base.files import atomic_file
from thermospin.base.programs import EMITTERS, without_emitters

P = ParamSpec("P")
T = TypeVar("T")

#: Without its optimisation XLA compiles for a CPU in a third of the time, programs that take up to six times as long.
OPTION = "xla_backend_optimization_level"
#: XLA moves what does not change in a loop out of it. Weights of the multigrid cycle then are in memory a second time,
#: in a longer type, and the program of a solve compiles a third longer, to run no faster.
WITHOUT = ("xla_disable_hlo_passes", "while-loop-invariant-code-motion")
#: Numbers that a program reads, times how often it reads them, below which that pays if it is called a few times.
LITTLE = 100_000_000
#: Numbers that a function has read in NumPy, all calls together, from which on its program pays: it takes 0.5 to 1.5 s
#: to make, and saves up to 16 ns each. And numbers of a call from which on memory counts: NumPy keeps what XLA fuses.
PAYS, LARGE = 100_000_000, 10_000_000
#: Programs of a process at most; those used longest ago are let go. A process may have 65,530 mappings of memory on
#: Linux, a program has about 140, and the signals of a device with error bars take 25 programs for each grid.
MOST = 200
#: Bytes that kept programs may take in a folder; where they take more, those used longest ago go, to three quarters.
KEPT = 2_000_000_000
#: Names of their files begin with this.
PREFIX = "program-"
#: What makes a compiled program useless to another installation.
PACKAGES = ("jax", "jaxlib", "equinox", "numpy")

Array = jax.Array | np.ndarray | np.generic


class Jitted(Generic[P, T]):
    """A function with its compiled programs, see `jit` and `on_host_first`."""

    def __init__(self, fun: Callable[P, T], passes: int | None, *, host: bool = False) -> None:
        self._traced, self._programs, self._fun = eqx.filter_jit(fun), _Programs(fun, passes), fun
        self._host = host
        functools.update_wrapper(self, fun)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the program for such arguments, compiled where there is none yet."""
        leaves, tree = jax.tree.flatten((args, kwargs))
        if not _ours(leaves):
            return self._traced(*args, **kwargs)
        if self._host and self._programs.may_wait(leaves, tree):
            args, kwargs = jax.tree.unflatten(tree, [np.asarray(x) if eqx.is_array(x) else x for x in leaves])
            return self._fun(*args, **kwargs)
        return self._programs(leaves, tree)

    def waits(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Return whether a call would have to wait for a compilation of its own; not under a trace."""
        leaves, tree = jax.tree.flatten((args, kwargs))
        return _ours(leaves) and not self._programs.known(leaves, tree)


def jit(fun: Callable[P, T], *, passes: int = 1, often: bool = False) -> Jitted[P, T]:
    """Compile a function of pytrees; what is not an array in them is static.

    Under a trace it is `equinox.filter_jit`. On a CPU it is compiled quickly where there is little to do.

    Args:
      fun: the function.
      passes: how often it reads its arguments, roughly.
      often: whether it is called so often that only its speed counts.
    """
    return Jitted(fun, None if often else passes)


def on_host_first(fun: Callable[P, T]) -> Jitted[P, T]:
    """Compile a function as `jit` does, on a CPU once it has been called so often in NumPy that it pays.

    Args:
      fun: the function, which does the same to arrays of NumPy and of JAX (`base.arrays`).
    """
    return Jitted(fun, 1, host=True)


def local(x: Any) -> Any:
    """Return an array in NumPy, outside of any trace on a single CPU: arithmetic with it then compiles nothing."""
    if isinstance(x, jax.core.Tracer) or jax.default_backend() != "cpu":
        return x
    return x if isinstance(x, jax.Array) and len(x.sharding.device_set) > 1 else np.asarray(x)


def stacked(columns: Sequence[Any]) -> Any:
    """Return columns side by side (rows, columns), in NumPy where all of them are."""
    columns = [local(column) for column in columns]
    return (np if all(isinstance(column, np.ndarray) for column in columns) else jnp).stack(columns, axis=1)


def forget() -> None:
    """Let go of all compiled programs of this process, those of JAX's own included."""
    for each in _Programs.all:
        each.ready.clear()
        each.read.clear()
    _tidy.cache_clear()
    jax.clear_caches()


def _little(work: int) -> bool:
    """Return whether a program with so much to do is better compiled quickly; only where nobody says otherwise."""
    return work < LITTLE and jax.default_backend() == "cpu" and OPTION not in os.environ.get("XLA_FLAGS", "")


def options(quick: bool = False) -> dict[str, str | bool]:
    """Return the options of XLA with which programs are compiled, quickly or to run fast."""
    out: dict[str, str | bool] = {OPTION: "0"} if quick else {}
    if jax.default_backend() == "cpu":
        out |= dict([WITHOUT])
        if without_emitters():
            out[EMITTERS] = False
    return out


def _weak(array: Array) -> bool:
    return isinstance(array, jax.Array) and array.weak_type


def _elsewhere(array: Array) -> jax.Device | None:
    """Return the device of an array if it is not the default one."""
    device = array.device if isinstance(array, jax.Array) else None
    return None if device == jax.devices()[0] else device


def _x64() -> bool:
    return bool(jax.config.jax_enable_x64)  # type: ignore[attr-defined]


def _ours(leaves: Sequence[Any]) -> bool:
    """Return whether a call is a program of its own, on one device; else JAX knows better."""
    # Under a trace what is made of constants is traced too.
    return not any(
        isinstance(leaf, jax.core.Tracer) or (isinstance(leaf, jax.Array) and len(leaf.sharding.device_set) > 1)
        for leaf in [jnp.zeros(1), *leaves]
    )


@dataclasses.dataclass
class _Ready:
    """A compiled program, its result with places for arrays, and when it was used last, as a count."""

    program: Callable[..., Any]
    like: Any
    used: int = 0


class _Programs(Generic[T]):
    """The compiled programs of a function, by the static parts and the shapes of its arguments."""

    all: list[_Programs[Any]] = []
    uses = itertools.count()

    def __init__(self, fun: Callable[..., T], passes: int | None):
        self._fun, self._passes = fun, passes
        self.ready: dict[Any, _Ready] = {}
        self.read: collections.Counter[Any] = collections.Counter()
        self._locks: dict[Any, threading.Lock] = {}
        _Programs.all.append(self)

    def __call__(self, leaves: list[Any], tree: Any) -> T:
        arrays, static, key = self._asked(leaves, tree)
        found = self.ready.get(key)
        if found is None:
            with self._locks.setdefault(key, threading.Lock()):  # another thread may be at it
                found = self.ready.get(key)
                if found is None:
                    found = self.ready[key] = _Ready(*self._make(arrays, static, tree))
        if not found.used:
            _let_go()
        found.used = next(_Programs.uses) + 1
        return _filled(found.like, found.program(*arrays))

    def known(self, leaves: list[Any], tree: Any) -> bool:
        """Return whether there is a program for such arguments, in this process or kept."""
        arrays, static, key = self._asked(leaves, tree)
        return key in self.ready or self._kept(arrays, static, tree)

    def _kept(self, arrays: list[Array], static: list[Any], tree: Any) -> bool:
        place = _place(self._fun, arrays, static, tree, self._quick(arrays))
        return place is not None and place.exists()

    def may_wait(self, leaves: list[Any], tree: Any) -> bool:
        """Return whether a call in NumPy is quicker than to compile, and count it as one."""
        arrays, static, key = self._asked(leaves, tree)
        size = sum(a.size for a in arrays)
        if key in self.ready or jax.default_backend() != "cpu" or self.read[key] > PAYS or size > LARGE:
            return False
        if key not in self.read and self._kept(arrays, static, tree):
            return False
        self.read[key] += size
        return True

    @staticmethod
    def _asked(leaves: list[Any], tree: Any) -> tuple[list[Array], list[Any], Any]:
        """Return the arrays of arguments, the other leaves with None for arrays, and what tells programs apart."""
        arrays = [leaf for leaf in leaves if isinstance(leaf, Array)]
        static = [None if isinstance(leaf, Array) else leaf for leaf in leaves]
        shapes = tuple((a.shape, a.dtype, _weak(a), _elsewhere(a)) for a in arrays)
        return arrays, static, (tree, tuple((type(leaf), leaf) for leaf in static), shapes, _x64())

    def _quick(self, arrays: list[Array]) -> bool:
        return self._passes is not None and _little(self._passes * sum(a.size for a in arrays))

    def _make(self, arrays: list[Array], static: list[Any], tree: Any) -> tuple[Callable[..., Any], Any]:
        """Load a program, or compile and keep it; with its result, in which arrays are places."""
        quick = self._quick(arrays)
        place = _place(self._fun, arrays, static, tree, quick)
        if place is not None and (kept := _load(place, len(arrays))) is not None:
            return kept
        results: list[Any] = []

        def flat(*arrays: jax.Array) -> list[jax.Array]:
            given = iter(arrays)
            args, kwargs = jax.tree.unflatten(tree, [next(given) if leaf is None else leaf for leaf in static])
            out, like = _emptied(self._fun(*args, **kwargs))
            results.append(like)
            return out

        # A name that JAX's own cache has not seen: what that has loaded, XLA writes without some of its functions.
        unique = uuid.uuid4().hex
        flat.__name__ = self._fun.__name__.lstrip("_") + ("" if place is None else f"_{unique}")
        lowered = jax.jit(flat).lower(*arrays)
        program, like = lowered.compile(options(quick)), results[-1]
        if place is not None:
            _keep(place, program, like)
            _remove(place.parent.glob(f"jit_*{unique}*"))  # where JAX has it too, nobody will find it
        return program, like


def _let_go() -> None:
    """Let go of the programs that were used longest ago, where there are too many."""
    ready = [(entry.used, each, key) for each in list(_Programs.all) for key, entry in list(each.ready.items())]
    known = sorted((row for row in ready if row[0]), key=lambda row: row[0])  # those that are new are about to be used
    for _, each, key in known[: max(len(ready) - MOST, 0)]:
        each.ready.pop(key, None)
        each._locks.pop(key, None)


class _Place(int):
    """The place of an array in a list."""


def _emptied(value: Any) -> tuple[list[jax.Array], Any]:
    """Return the arrays of a pytree, and the pytree with their places instead."""
    leaves, tree = jax.tree.flatten(value)
    arrays: list[jax.Array] = []
    for number, leaf in enumerate(leaves):
        if eqx.is_array(leaf):
            leaves[number] = _Place(len(arrays))
            arrays.append(leaf)
    return arrays, jax.tree.unflatten(tree, leaves)


def _filled(like: Any, arrays: Sequence[jax.Array]) -> Any:
    """Return a pytree with arrays at their places."""
    return jax.tree.map(lambda leaf: arrays[leaf] if isinstance(leaf, _Place) else leaf, like)


# ------------------------------------------------------------------------------------------- between runs


def _place(fun: Callable[..., Any], arrays: list[Array], static: list[Any], tree: Any, quick: bool) -> Path | None:
    """Return where a program is kept; None where it cannot be, or should not."""
    folder = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    # The name of a local function does not say all: what it does depends on where it was made.
    if not folder or len(jax.devices()) > 1 or "<" in fun.__qualname__:
        return None
    shapes = [(a.shape, str(a.dtype), _weak(a)) for a in arrays]
    leaves = [_Place(0) if leaf is None else leaf for leaf in static]
    try:
        names = fun.__module__, fun.__qualname__
        asked = pickle.dumps((names, shapes, jax.tree.unflatten(tree, leaves), quick, _x64()))
    except (pickle.PicklingError, AttributeError, TypeError):  # a local function, say
        return None
    return Path(folder) / f"{PREFIX}{hashlib.sha256(_installation() + asked).hexdigest()}"


@functools.cache
def _installation() -> bytes:
    """Return a digest of what compiled programs depend on beside their arguments."""
    digest = hashlib.sha256()
    root = Path(__file__).resolve().parents[1]
    for path in sorted(root.rglob("*.py")):
        digest.update(path.read_bytes())
    device = jax.devices()[0]
    facts = [platform.python_version(), platform.machine(), device.platform, device.device_kind]
    facts += [metadata.version(name) for name in PACKAGES]
    facts += [os.environ.get("XLA_FLAGS", ""), _instructions()]
    digest.update("\n".join(facts).encode())
    return digest.digest()


def _instructions() -> str:
    """Return what the processor can do: homes are shared by machines whose processors differ."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _load(place: Path, count: int) -> tuple[Callable[..., Any], Any] | None:
    """Return a kept program and what its result is like; None where there is none that can be used."""
    try:
        program, like, results = pickle.loads(place.read_bytes())
        given, out = jax.tree.structure(((0,) * count, {})), jax.tree.structure([0] * results)
        found = serialize_executable.deserialize_and_load(program, given, out), like
        with contextlib.suppress(OSError):
            os.utime(place)  # when it was used last, which many file systems do not note
        return found
    except Exception:  # there is no such file, or it is damaged, in whatever way
        return None


def _keep(place: Path, program: Any, like: Any) -> None:
    """Write a program, all at once, where others may be reading; a program that cannot be kept is none the worse."""
    try:
        payload, _, results = serialize_executable.serialize(program)
        content = pickle.dumps((payload, like, results.num_leaves))
    except (ValueError, NotImplementedError, pickle.PicklingError, AttributeError, TypeError):
        return
    try:
        with atomic_file(place) as file:
            file.write(content)
    except OSError:
        return
    _tidy(place.parent)


@functools.cache
def _tidy(folder: Path) -> None:
    """Remove kept programs that were used longest ago where there are too many, once in a process."""
    known = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX):
                known.append((entry.stat().st_mtime, entry.stat().st_size, Path(entry.path)))
    total = sum(size for _, size, _ in known)
    if total <= KEPT:
        return
    for _, size, path in sorted(known):
        if total <= 0.75 * KEPT:
            return
        _remove([path])
        total -= size


def _remove(places: Iterable[Path]) -> None:
    with contextlib.suppress(OSError):
        for place in places:
            place.unlink()
