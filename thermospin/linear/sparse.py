"""Gathers, and sparse matrices as columns of neighbours: the form in which XLA runs irregular grids fast.

A scatter or a segment sum is slow on a CPU and adds in no fixed order on a GPU; a gather of whole rows is neither.
Arrays made on the host go to the device by `device_put`: `jnp.asarray` would compile a copy for every shape.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Protocol, Self, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Num
from numpy.typing import DTypeLike
from scipy.sparse import csr_array

from thermospin.base.arrays import AnyArray, namespace, nodes_first, nodes_last

#: From this number of entries in a row on, they are in one array, and multiplied in a loop.
LOOPED = 12


def take(values: AnyArray, index: Int[AnyArray, ...]) -> AnyArray:
    """values[index] along the leading axis; the indices must be in bounds.

    Indexing would first wrap negative indices around, which costs more than the gather itself. In NumPy the index has
    one axis.
    """
    if namespace(values, index) is np:
        return nodes_first(np.take(nodes_last(values), index, axis=-1))
    kept = tuple(range(index.ndim, index.ndim + values.ndim - 1))
    numbers = lax.GatherDimensionNumbers(offset_dims=kept, collapsed_slice_dims=(0,), start_index_map=(0,))
    sizes = (1, *values.shape[1:])
    return lax.gather(values, index[..., None], numbers, sizes, mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS)


@runtime_checkable
class Halo(Protocol):
    """Brings in the values that rows need from other accelerators; see `parallel.sharding`."""

    def extend(self, halos: Sequence[Self], xs: Sequence[Array]) -> list[Array]:
        """Return for each halo, this one among them, its own values followed by those from others."""
        ...


class Rows(eqx.Module):
    """A sparse matrix: the k-th entry of every row for k = 0, 1, ...; long rows continue in a smaller one.

    Attributes:
      index: for each k the column of the k-th entry (the first column, with weight zero, where there is none); of
        long rows one array for all k, see `LOOPED`.
      weight: for each k its value (a,), or the pair (a, b) of its block [[a + b, a - b], [a - b, a + b]], in
        a type that may be shorter than that of the values that they multiply.
      rest: the further entries of the long rows.
      place: row of `rest` that belongs to each row, one past its end where there is none.
      unit: of the weights.
      halo: what brings in the values of other accelerators that columns are numbered for; None on one accelerator.
    """

    index: tuple[Int[AnyArray, "*entries rows"], ...]
    weight: tuple[tuple[Num[AnyArray, "*entries rows"], ...], ...]
    rest: Rows | None
    place: Int[AnyArray, "*parts rows"] | None
    unit: float = eqx.field(static=True)
    halo: Halo | None = None

    @classmethod
    def of(cls, matrix: csr_array, *, dtype: DTypeLike = np.float32, unit: float = 1.0) -> Rows:
        """Return the rows of a sparse matrix; a complex entry a + ib stands for a block, see `weight`.

        Args:
          matrix: the matrix.
          dtype: of the weights.
          unit: of the entries of the matrix.
        """
        rows = cls.stacked([matrix], dtype=dtype, unit=unit)
        return jax.tree.map(lambda part: jax.device_put(part[0]), rows)

    @classmethod
    def stacked(
        cls,
        matrices: Sequence[csr_array],
        *,
        dtype: DTypeLike = np.float32,
        unit: float = 1.0,
        halo: Halo | None = None,
        width: int | None = None,
    ) -> Rows:
        """Return the rows of matrices of one shape, in arrays on the host with a leading axis of matrices.

        Args:
          matrices: real or complex, see `of`.
          dtype: of the weights.
          unit: of the entries of the matrices.
          halo: for the columns.
          width: entries before long rows continue in `rest`; None: the width with the fewest gathers.
        """
        counts = [np.diff(matrix.indptr) for matrix in matrices]
        rows, paired = matrices[0].shape[0], np.iscomplexobj(matrices[0].data)
        longest = max(int(count.max(initial=0)) for count in counts)
        if width is None:
            # Each column costs all rows, and so does looking up the rest of long rows.
            total = np.concatenate(counts)
            gathers = [
                rows * k + (longest > k) * (rows + (longest - k) * np.sum(total > k) / len(counts))
                for k in range(longest + 1)
            ]
            width = int(np.argmin(gathers))
        width = max(width, 1)
        columns = np.zeros((len(matrices), width, rows), np.int32)
        values = np.zeros((len(matrices), width, rows), complex if paired else float)
        for number, (matrix, count) in enumerate(zip(matrices, counts, strict=True)):
            for k in range(width):
                here = np.flatnonzero(count > k)
                entry = matrix.indptr[here] + k
                columns[number, k, here], values[number, k, here] = matrix.indices[entry], matrix.data[entry]
        which = [np.s_[:]] if width >= LOOPED else range(width)
        index = tuple(columns[:, k] for k in which)
        weight = tuple(
            tuple(part[:, k].astype(dtype) for part in ((values.real, values.imag) if paired else (values,)))
            for k in which
        )
        long = [np.flatnonzero(count > width) for count in counts]
        most = max(map(len, long))
        if most == 0:
            return cls(index, weight, None, None, unit, halo)  # type: ignore[arg-type]
        place = np.full((len(matrices), rows), most, np.int32)
        rest = []
        for number, (matrix, count, these) in enumerate(zip(matrices, counts, long, strict=True)):
            place[number, these] = np.arange(len(these))
            length = np.zeros(most, int)
            length[: len(these)] = count[these] - width
            pointer = np.append(0, np.cumsum(length))
            first = matrix.indptr[these] + width - pointer[: len(these)]
            entry = np.repeat(first, length[: len(these)]) + np.arange(pointer[-1])
            kept = matrix.data[entry], matrix.indices[entry], pointer
            rest.append(csr_array(kept, shape=(most, matrix.shape[1])))
        more = cls.stacked(rest, dtype=dtype, unit=unit, width=longest - width)
        return cls(index, weight, more, place, unit, halo)  # type: ignore[arg-type]

    def matrix(self, columns: int) -> csr_array:
        """Return the matrix that this was made of, in its unit and precision; pairs as complex numbers."""
        entries: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

        def collect(part: Rows, number: np.ndarray) -> None:
            for index, weights in zip(part.index, part.weight, strict=True):
                value = np.asarray(weights[0]).astype(float)
                if len(weights) > 1:
                    value = value + 1j * np.asarray(weights[1]).astype(float)
                keep = value != 0
                rows = np.broadcast_to(number, value.shape)
                entries.append((rows[keep], np.asarray(index)[keep], value[keep]))
            if part.rest is not None and part.place is not None:
                place = np.asarray(part.place)
                long = np.flatnonzero(place < part.rest.size)
                collect(part.rest, number[long[np.argsort(place[long])]])

        collect(self, np.arange(self.size))
        row, column, value = (np.concatenate(parts) for parts in zip(*entries, strict=True))
        return csr_array((value, (row, column)), shape=(self.size, columns))

    def multiply(self, x: Float[AnyArray, "nodes fields columns"]) -> Float[AnyArray, "rows fields columns"]:
        """Return the matrix times values."""
        return multiply([self], [x])[0]

    def _multiply(self, x: AnyArray) -> AnyArray:
        if self._serves(x):
            return _product(self.matrix(len(x)), x)

        def add(out: Array, entry: tuple[Array, tuple[Array, ...]]) -> tuple[Array, None]:
            index, weights = entry
            y = take(x, index)
            # By lax, whose functions are traced in a fraction of the time of indexing.
            a, *second = (lax.expand_dims(lax.convert_element_type(part, x.dtype), (1, 2)) for part in weights)
            if second:
                return out + (a + second[0]) * y + (a - second[0]) * lax.rev(y, (1,)), None
            return out + a * y, None

        out = jnp.zeros((self.size, *x.shape[1:]), x.dtype)
        for entry in zip(self.index, self.weight, strict=True):
            if entry[0].ndim == 1:
                out, _ = add(out, entry)
            else:
                # On a GPU one kernel; on a CPU a loop, as fast and compiled in a fraction of the time.
                looped, unrolled = (functools.partial(lax.scan, add, unroll=unroll) for unroll in (1, True))
                out, _ = lax.platform_dependent(out, entry, cpu=looped, default=unrolled)
        if self.rest is not None and self.place is not None:
            more = self.rest._multiply(x)
            out = out + take(jnp.concatenate([more, jnp.zeros_like(more[:1])]), self.place)
        return out

    @property
    def size(self) -> int:
        """Number of rows."""
        return self.index[0].shape[-1]

    def _serves(self, x: AnyArray) -> bool:
        """Return whether this and values are in NumPy, and no pairs, so that SciPy can multiply them."""
        return namespace(x, self.index[0]) is np and len(self.weight[0]) == 1

    def multiply_transposed(self, y: Float[AnyArray, "rows fields columns"], columns: int) -> AnyArray:
        """Return the transpose, of `columns` rows, times values; for few columns, as it adds them sequentially."""
        if self._serves(y):
            return self.unit * _product(self.matrix(columns).T, y)
        shape = jax.ShapeDtypeStruct((columns, *y.shape[1:]), y.dtype)
        return jax.linear_transpose(self.multiply, shape)(y)[0]


def _product(matrix: csr_array, x: AnyArray) -> Any:
    """Return a matrix times values, see `base.arrays.stack` for their order in memory."""
    columns = nodes_last(x)
    found = np.stack([matrix @ column for column in columns.reshape(-1, len(x))])
    return nodes_first(found.reshape(*columns.shape[:-1], matrix.shape[0]))


def multiply(matrices: Sequence[Rows], xs: Sequence[AnyArray]) -> list[AnyArray]:
    """Return each matrix times its values; values from other accelerators come in messages that matrices share."""
    xs = [x if matrix.unit == 1.0 else matrix.unit * x for matrix, x in zip(matrices, xs, strict=True)]
    if matrices[0].halo is not None:
        xs = matrices[0].halo.extend([matrix.halo for matrix in matrices if matrix.halo is not None], xs)
    return [matrix._multiply(x) for matrix, x in zip(matrices, xs, strict=True)]
