"""Values that belong to objects, for as long as these live."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

K = TypeVar("K")
T = TypeVar("T")


class ByIdentity(Generic[K, T]):
    """What was made for an object, found by the object itself: arrays in it need no hash and are not compared."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[weakref.ref[Any], T]] = {}

    def of(self, key: K, make: Callable[[], T]) -> T:
        """Return what was made for an object, which `make` does the first time; `make` must not keep the object."""
        place = id(key)
        found = self._made.get(place)
        if found is None or found[0]() is not key:
            found = weakref.ref(key, lambda _: self._made.pop(place, None)), make()
            self._made[place] = found
        return found[1]
