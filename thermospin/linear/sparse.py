"""Gathers, and sparse matrices as columns of neighbours: the form in which XLA runs irregular grids fast.

A scatter or a segment sum is slow on a CPU and adds in no fixed order on a GPU; a gather of whole rows is neither.
Arrays made on the host go to the device by `device_put`: `jnp.asarray` would compile a copy for every shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int
from scipy.sparse import csr_array


def take(values: Array, index: Int[Array, ...]) -> Array:
    """values[index] along the leading axis; the indices must be in bounds.

    Indexing would first wrap negative indices around, which costs more than the gather itself.
    """
    kept = tuple(range(index.ndim, index.ndim + values.ndim - 1))
    numbers = lax.GatherDimensionNumbers(offset_dims=kept, collapsed_slice_dims=(0,), start_index_map=(0,))
    sizes = (1, *values.shape[1:])
    return lax.gather(values, index[..., None], numbers, sizes, mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS)


class Halo(Protocol):
    """Brings in the values that rows need from other accelerators; see `parallel.sharding`."""

    def extend(self, halos: Sequence[Self], xs: Sequence[Array]) -> list[Array]:
        """Return for each halo, this one among them, its own values followed by those from others."""
        ...


class Rows(eqx.Module):
    """A sparse matrix: the k-th entry of every row for k = 0, 1, ...; long rows go on in a smaller one.

    Attributes:
      index: for each k the column of the k-th entry (the first column, with weight zero, where there is none).
      weight: for each k its value (a,), or the pair (a, b) of its block [[a + b, a - b], [a - b, a + b]], in
        a type that may be shorter than that of the values that they multiply.
      rest: the further entries of the long rows.
      place: row of `rest` that belongs to each row, one past its end where there is none.
      unit: of the weights.
      halo: what brings in the values of other devices that columns are numbered for; None where there is one device.
    """

    index: tuple[Int[Array, " rows"], ...]
    weight: tuple[tuple[Float[Array, " rows"], ...], ...]
    rest: Rows | None
    place: Int[Array, " rows"] | None
    unit: float = eqx.field(static=True)
    halo: Halo | None = None

    @classmethod
    def of(cls, matrix: csr_array, *, dtype: type = np.float32, unit: float = 1.0, width: int | None = None) -> Rows:
        """From a sparse matrix; a complex entry a + ib stands for a block, see `weight`.

        Args:
          matrix: the matrix.
          dtype: of the weights.
          unit: of the entries of the matrix.
          width: entries before long rows go on elsewhere; None: what makes the fewest gathers.
        """
        count = np.diff(matrix.indptr)
        rows, longest = len(count), int(count.max(initial=0))
        if width is None:
            # Each column costs all rows, and so does looking up what long rows have besides.
            gathers = [
                rows * k + (longest > k) * (rows + (longest - k) * np.sum(count > k)) for k in range(longest + 1)
            ]
            width = int(np.argmin(gathers))
        width = max(width, 1)
        index, weight = [], []
        for k in range(width):
            here = np.flatnonzero(count > k)
            entry = matrix.indptr[here] + k
            column, value = np.zeros(rows, np.int32), np.zeros(rows, matrix.dtype)
            column[here], value[here] = matrix.indices[entry], matrix.data[entry]
            parts = (value.real, value.imag) if np.iscomplexobj(value) else (value,)
            index.append(jax.device_put(column))
            weight.append(tuple(jax.device_put(part.astype(dtype)) for part in parts))
        long = np.flatnonzero(count > width)
        if len(long) == 0:
            return cls(tuple(index), tuple(weight), None, None, unit)
        place = np.full(rows, len(long), np.int32)
        place[long] = np.arange(len(long))
        length = count[long] - width
        pointer = np.append(0, np.cumsum(length))
        entry = np.repeat(matrix.indptr[long] + width - pointer[:-1], length) + np.arange(pointer[-1])
        rest = csr_array((matrix.data[entry], matrix.indices[entry], pointer), shape=(len(long), matrix.shape[1]))
        more = cls.of(rest, dtype=dtype, unit=unit, width=longest - width)
        return cls(tuple(index), tuple(weight), more, jax.device_put(place), unit)

    def multiply(self, x: Float[Array, "nodes fields columns"]) -> Float[Array, "rows fields columns"]:
        """The matrix times values."""
        return multiply([self], [x])[0]

    def _multiply(self, x: Array) -> Array:
        out = jnp.zeros((), x.dtype)
        for index, weights in zip(self.index, self.weight, strict=True):
            y = take(x, index)
            # By lax, whose functions are traced in a fraction of the time of indexing.
            a, *second = (lax.expand_dims(lax.convert_element_type(each, x.dtype), (1, 2)) for each in weights)
            if second:
                out = out + (a + second[0]) * y + (a - second[0]) * lax.rev(y, (1,))
            else:
                out = out + a * y
        if self.rest is not None and self.place is not None:
            more = self.rest._multiply(x)
            out = out + take(jnp.concatenate([more, jnp.zeros_like(more[:1])]), self.place)
        return out

    @property
    def size(self) -> int:
        """Number of rows."""
        return len(self.index[0])

    def multiply_transposed(self, y: Float[Array, "rows fields columns"], columns: int) -> Array:
        """The transpose, of `columns` rows, times values: for few columns, as it adds them one after another."""
        shape = jax.ShapeDtypeStruct((columns, *y.shape[1:]), y.dtype)
        return jax.linear_transpose(self.multiply, shape)(y)[0]


def multiply(matrices: Sequence[Rows], xs: Sequence[Array]) -> list[Array]:
    """Matrices times values, each its own; on many devices what they need from others comes in shared messages."""
    xs = [x if matrix.unit == 1.0 else matrix.unit * x for matrix, x in zip(matrices, xs, strict=True)]
    if matrices[0].halo is not None:
        xs = matrices[0].halo.extend([matrix.halo for matrix in matrices if matrix.halo is not None], xs)
    return [matrix._multiply(x) for matrix, x in zip(matrices, xs, strict=True)]
