"""Double precision, quick compilation; and, being here, it puts this folder on the path: tests find `problems`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import pytest

from thermospin.base.programs import TRIED
from thermospin.cli.runtime import quickly

os.environ.setdefault("JAX_ENABLE_X64", "1")
# What JAX would quietly widen or broadcast is a fault; tests of libraries that rely on it switch it off.
os.environ.setdefault("JAX_NUMPY_DTYPE_PROMOTION", "strict")
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
quickly()
# Problems of tests are small: their programs take longer to compile than to run, and threads longer to wait for each
# other than to work. Workers, and the processes that tests start, have BLAS told so before NumPy loads it.
FLAGS = "--xla_backend_optimization_level=0 --xla_cpu_multi_thread_eigen=false"
if metadata.version("jaxlib").startswith(TRIED):
    FLAGS += " --xla_cpu_parallel_codegen_split_count=1"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}".strip()
for _library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

#: Files that take longest. Workers get files in this order: a long one that comes last would keep one of them alone.
LONGEST = (
    "test_readme.py",
    "test_interfaces.py",
    "test_signals.py",
    "test_sharding.py",
    "test_heat_drives.py",
    "test_design.py",
    "test_suite.py",
    "test_signal_gradients.py",
)


_approx = pytest.approx


def approx(expected: Any, rel: float | None = None, abs: float | None = None, nan_ok: bool = False) -> Any:
    """Compare as pytest does, but without its absolute tolerance of 1e-12, which is larger than areas in m^2."""
    if abs is None and not (isinstance(expected, int | float) and expected == 0):
        rel, abs = 1e-6 if rel is None else rel, 0.0
    return _approx(expected, rel=rel, abs=abs, nan_ok=nan_ok)


pytest.approx = approx


@pytest.fixture(scope="module", autouse=True)
def _forget_programs() -> Iterator[None]:
    """Lets go of compiled programs after each file: hundreds of them have more mappings than a process may have."""
    yield
    from thermospin.base import compilation  # after the environment is set, above

    compilation.forget()


@pytest.fixture
def compiled_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiles forms at once: for tests that evaluate a small problem hundreds of times."""
    from thermospin.base import compilation  # after the environment is set, above

    monkeypatch.setattr(compilation, "PAYS", -1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))
