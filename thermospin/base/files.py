"""Files: fields for ParaView (.vtr), which are read back too, JSON, arrays from which a stopped run resumes, and locks.

Each file is written under a temporary name in its folder and then renamed. A reader never sees an incomplete file, and
a failed run leaves the old file in place. This module depends on no device and no equation.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import io
import json
import math
import os
import weakref
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import numpy as np

from thermospin.base.errors import FileError, InputError
from thermospin.base.kinds import require_path

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None

_VTK_TYPES: dict[np.dtype[Any], str] = {
    np.dtype("<f8"): "Float64",
    np.dtype("<f4"): "Float32",
    np.dtype("<i8"): "Int64",
    np.dtype("<i4"): "Int32",
    np.dtype("u1"): "UInt8",
}


@runtime_checkable
class Fields(Protocol):
    """Fields to write: node coordinates and nodal fields, NaN where a field is not defined.

    Attributes:
      x, y, z: node coordinates [m], ascending.
      V_up, V_down: electrochemical potentials over e (nx, ny, nz) [V].
      T: temperature rise above the bath (nx, ny, nz) [K].
    """

    @property
    def x(self) -> np.ndarray: ...
    @property
    def y(self) -> np.ndarray: ...
    @property
    def z(self) -> np.ndarray: ...
    @property
    def V_up(self) -> np.ndarray: ...
    @property
    def V_down(self) -> np.ndarray: ...
    @property
    def T(self) -> np.ndarray: ...


def shipped(*parts: str) -> Traversable:
    """Return a file or folder that ships with the program, by its path within the package."""
    return resources.files("thermospin").joinpath(*parts)


def require_place(what: str, path: str | os.PathLike[str]) -> Path:
    """Return a path that `atomic_file` can write; refuse another one before any work is done.

    Raises:
      InputError: it is no path.
      FileError: it is a folder, or its folder is none or cannot be written; the message says what to do.
    """
    path = require_path(what, path)
    if os.path.isdir(path):  # unlike Path.is_dir, never raises
        raise FileError(f"Cannot write '{path}': it is a folder; add a file name.")
    if not os.path.isdir(path.parent):
        raise FileError(f"Cannot write '{path}': there is no folder '{path.parent}'; create it first.")
    if not os.access(path.parent, os.W_OK):
        raise FileError(f"Cannot write '{path}': its folder '{path.parent}' cannot be written; give another one.")
    return path


class Claim:
    """An exclusive lock on an open file, for as long as something refers to this object."""

    def __init__(self, file: int) -> None:
        weakref.finalize(self, os.close, file)


#: Locks of this process, by device and number of the file: whoever opens it once more shares them.
_CLAIMS: weakref.WeakValueDictionary[tuple[int, int], Claim] = weakref.WeakValueDictionary()


def claim(path: Path, otherwise: str, *, beside: bool = False) -> Claim | None:
    """Lock a file, which is made if it does not exist; None where there are no locks, or no such place.

    Args:
      path: of the file.
      otherwise: what else to do than to wait, for the message.
      beside: lock its neighbour .NAME.lock: a file that is replaced as a whole loses its lock.
    Raises:
      InputError: another process has locked it.
    """
    if fcntl is None:
        return None
    try:
        file = os.open(path.with_name(f".{path.name}.lock") if beside else path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        return None  # reading or writing it tells why
    status = os.fstat(file)
    held = _CLAIMS.get(key := (status.st_dev, status.st_ino))
    if held is None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise InputError(f"{path}: another process uses it; wait until that has ended, or {otherwise}") from None
        except OSError:  # such as on some network file systems
            os.close(file)
            return None
        _CLAIMS[key] = held = Claim(file)
    else:
        os.close(file)
    return held


#: Files that `atomic_file` is writing: who ends the process removes them.
UNFINISHED: set[Path] = set()


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a binary file that appears at `path` complete, or not at all.

    Raises:
      InputError: it is no path.
      OSError: the file cannot be written; the message gives its name and the reason.
    """
    path = require_place("path", path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    UNFINISHED.add(part)
    try:
        with part.open("wb") as file:
            yield file
        os.replace(part, path)
    except OSError as error:
        raise FileError(f"Cannot write '{path}': {error.strerror or error}.") from error
    finally:
        # After success the temporary file no longer exists; after a failure it must not remain.
        with contextlib.suppress(OSError):
            part.unlink()
        UNFINISHED.discard(part)


def write_arrays(path: str | os.PathLike[str], head: Any, arrays: Iterable[np.ndarray]) -> None:
    """Write JSON data and arrays to one file with a checksum; a failure leaves no incomplete file.

    Raises:
      OSError: see `atomic_file`.
    """
    content = io.BytesIO()
    numbered: dict[str, Any] = {f"v{k}": array for k, array in enumerate(arrays)}
    np.savez(content, head=np.array(json.dumps(head)), **numbered)
    with atomic_file(path) as file:
        file.write(hashlib.sha256(content.getbuffer()).digest() + content.getbuffer())


def read_arrays(path: str | os.PathLike[str]) -> tuple[Any, list[np.ndarray]]:
    """Read a file that `write_arrays` has written.

    Raises:
      ValueError: the file is damaged, or `write_arrays` did not write it.
      OSError: the file cannot be read.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        why = error.strerror or error
        raise FileError(f"Cannot read '{path}': {why}; make it readable, or remove it to begin anew.") from error
    if hashlib.sha256(content[32:]).digest() != content[:32]:
        raise InputError(f"{path}: is damaged, or no such file; remove it to begin anew")
    with np.load(io.BytesIO(content[32:])) as file:
        return json.loads(str(file["head"])), [file[f"v{k}"] for k in range(len(file.files) - 1)]


def write_vtr(path: str | os.PathLike[str], fields: Fields, cell_data: Mapping[str, np.ndarray] | None = None) -> None:
    """Write fields as a VTK XML RectilinearGrid, which ParaView opens with a double click.

    Point data: V_up, V_down, V_s = V_up - V_down, V_c = (V_up + V_down)/2 [V] and T, the temperature rise above the
    bath [K], as float64. NaN marks nodes where a field is not defined, and is kept.

    Args:
      path: the file to write, usually with the extension .vtr.
      fields: node coordinates [m] and nodal fields.
      cell_data: more arrays by name, one value per cell: (nx-1, ny-1, nz-1) with nx nodes along x; or one per element
        if each element spans the same number of node intervals (such as `Grid.domain` at order 2). Vectors have a last
        axis of three components.
    Raises:
      ValueError: an array of the wrong shape or type, or coordinates that are not ascending.
      OSError: the file cannot be written.
    """
    nodes = [_coordinates(axis, getattr(fields, axis)) for axis in "xyz"]
    shape = tuple(len(line) for line in nodes)
    V_up, V_down, T = (_point_array(name, getattr(fields, name), shape) for name in ("V_up", "V_down", "T"))
    points = {"V_up": V_up, "V_down": V_down, "V_s": V_up - V_down, "V_c": (V_up + V_down) / 2, "T": T}
    cells = {name: _cell_array(name, values, shape) for name, values in (cell_data or {}).items()}
    extent = " ".join(f"0 {count - 1}" for count in shape)
    with atomic_file(path) as file:
        write = _text_writer(file)
        write('<?xml version="1.0"?>\n')
        write('<VTKFile type="RectilinearGrid" version="1.0" byte_order="LittleEndian" header_type="UInt64">\n')
        write("<!-- coordinates in m; V_up, V_down, V_s = V_up - V_down, V_c = (V_up + V_down)/2 in V; ")
        write("T: temperature rise above the bath in K; NaN: the field is not defined there -->\n")
        write(f'<RectilinearGrid WholeExtent="{extent}">\n<Piece Extent="{extent}">\n')
        write('<PointData Scalars="T">\n')
        for name, values in points.items():
            _write_array(file, name, values)
        write("</PointData>\n<CellData>\n")
        for name, values in cells.items():
            _write_array(file, name, values)
        write("</CellData>\n<Coordinates>\n")
        for name, line in zip("xyz", nodes, strict=True):
            _write_array(file, name, line)
        write("</Coordinates>\n</Piece>\n</RectilinearGrid>\n</VTKFile>\n")


@dataclasses.dataclass(frozen=True, eq=False)
class FieldsFile:
    """Fields of a .vtr file.

    Attributes:
      x, y, z, V_up, V_down, T: as of `Fields`.
      cells: more arrays by name, one value or vector for each cell between nodes (nx-1, ny-1, nz-1[, 3]).
    """

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    V_up: np.ndarray
    V_down: np.ndarray
    T: np.ndarray
    cells: Mapping[str, np.ndarray]


def read_vtr(path: str | os.PathLike[str]) -> FieldsFile:
    """Read fields that `write_vtr` has written.

    Raises:
      InputError: it is no such file, or not all of it.
      OSError: the file cannot be read.
    """
    try:
        root = ElementTree.parse(path).getroot()
        sections = {
            section.tag: {array.attrib["Name"]: _read_array(array) for array in section}
            for section in root.iterfind("./RectilinearGrid/Piece/")
        }
        x, y, z = (sections["Coordinates"][axis] for axis in "xyz")
        nodes = (len(x), len(y), len(z))
        V_up, V_down, T = (sections["PointData"][name].reshape(nodes, order="F") for name in ("V_up", "V_down", "T"))
        cells = {
            name: _of_cells(values, tuple(count - 1 for count in nodes))
            for name, values in sections["CellData"].items()
        }
    except FileNotFoundError:
        raise FileError(f"Cannot read '{os.fspath(path)}': there is no such file.") from None
    except (ElementTree.ParseError, UnicodeError, KeyError, ValueError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"{os.fspath(path)}: is no file of fields written by thermospin, or not all of it ({what}); those are .vtr "
            "files with V_up, V_down and T, such as `thermospin demo slachter2010` writes"
        ) from None
    return FieldsFile(x, y, z, V_up, V_down, T, cells)


def _read_array(array: ElementTree.Element) -> np.ndarray:
    payload = base64.b64decode(array.text or "", validate=True)
    if array.attrib["format"] != "binary" or int.from_bytes(payload[:8], "little") != len(payload) - 8:
        raise ValueError(f"{array.attrib['Name']} is cut off or written otherwise")
    kinds: dict[str, np.dtype[Any]] = {name: kind for kind, name in _VTK_TYPES.items()}
    return np.frombuffer(payload[8:], dtype=kinds[array.attrib["type"]])


def _of_cells(values: np.ndarray, cells: tuple[int, ...]) -> np.ndarray:
    """Return values in the order of x, y and z, the components of vectors last."""
    if values.size == math.prod(cells):
        return values.reshape(cells, order="F")
    return np.moveaxis(values.reshape((3, *cells), order="F"), 0, -1)


def write_json(path: str | os.PathLike[str], data: Any) -> None:
    """Write data as strict JSON: NumPy and JAX values become plain numbers and lists, NaN and infinities null.

    Raises:
      TypeError: JSON cannot represent a value; the message says where it is in the data.
      OSError: the file cannot be written.
    """
    text = json.dumps(_plain(data, "data"), indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_file(path) as file:
        file.write(text.encode() + b"\n")


def read_json(path: str | os.PathLike[str], what: str) -> dict[str, Any]:
    """Return the object that a JSON file has.

    Args:
      path: of the file.
      what: it is expected to have, for messages.
    Raises:
      InputError: it is no path, no JSON, or no object.
      FileError: it cannot be read.
    """
    path = require_path("path", path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"Cannot read '{path}': {error.strerror or error}.") from error
    except ValueError as error:
        raise InputError(f"{path}: got no JSON ({error}), expected {what}") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: got a {type(data).__name__}, expected {what}")
    return data


@contextlib.contextmanager
def understood(path: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Turn what is missing from the data of a file, or of another kind, into an error that names the file.

    Raises:
      InputError: see above.
    """
    try:
        yield
    except KeyError as error:
        raise InputError(f"{path}: has no {error}, expected {what}") from None
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(f"{path}: cannot be understood ({error}), expected {what}") from None


def exact(values: np.ndarray | None) -> Any:
    """Return an array as lists for JSON, in which "nan" and "inf" stand for what JSON has no number for.

    `numpy.array(..., float)` reads it.
    """
    if values is None:
        return None
    if np.ndim(values) > 0:
        return [exact(value) for value in values]
    return float(values) if math.isfinite(values) else str(float(values))


def _text_writer(file: BinaryIO) -> Any:
    def write(text: str) -> None:
        file.write(text.encode())

    return write


def _write_array(file: BinaryIO, name: str, values: np.ndarray) -> None:
    # In VTK the components of a vector vary fastest, then the index along x; one base64 stream holds the byte count and
    # the bytes.
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    vector = values.ndim == 4
    payload = (np.moveaxis(little, -1, 0) if vector else little).tobytes(order="F")
    kind = _VTK_TYPES[little.dtype] + ('" NumberOfComponents="3' if vector else "")
    file.write(f'<DataArray type="{kind}" Name={quoteattr(name)} format="binary">'.encode())
    file.write(base64.b64encode(len(payload).to_bytes(8, "little") + payload))
    file.write(b"</DataArray>\n")


def _coordinates(axis: str, values: Any) -> np.ndarray:
    line = np.asarray(values, dtype=np.float64)
    if line.ndim != 1 or len(line) < 2 or not np.all(np.diff(line) > 0):
        raise InputError(f"Coordinates '{axis}' have shape {line.shape}; expected two or more ascending numbers [m].")
    return line


def _point_array(name: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != shape:
        raise InputError(f"Field '{name}' has shape {array.shape}; the nodes are {shape}.")
    return array


def _cell_array(name: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(values)
    cells = tuple(count - 1 for count in shape)
    repeats = [want // max(have, 1) for want, have in zip(cells, array.shape, strict=False)]
    fits = array.ndim == 3 or (array.ndim == 4 and array.shape[3] == 3)
    if not fits or tuple(r * n for r, n in zip(repeats, array.shape, strict=False)) != cells:
        raise InputError(
            f"Cell data '{name}' has shape {array.shape}; expected {cells}, one value between neighbouring nodes, "
            "or a shape that divides it."
        )
    for axis, repeat in enumerate(repeats):
        array = np.repeat(array, repeat, axis=axis)
    if array.dtype == bool:
        array = array.astype(np.uint8)
    if array.dtype.newbyteorder("<") not in _VTK_TYPES:
        if not np.issubdtype(array.dtype, np.number) or np.issubdtype(array.dtype, np.complexfloating):
            raise InputError(f"Cell data '{name}' is of type {array.dtype}; expected real numbers.")
        array = array.astype(np.int64 if np.issubdtype(array.dtype, np.integer) else np.float64)
    return array


def _plain(value: Any, where: str) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {_key(key, where): _plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain({f.name: getattr(value, f.name) for f in dataclasses.fields(value)}, where)
    if hasattr(value, "__array__"):
        array = np.asarray(value)
        if array.dtype.kind in "biufU":
            return _plain(array.tolist(), where)
    raise TypeError(f"{where} is a {type(value).__name__}, which JSON cannot represent.")


def _key(key: Any, where: str) -> str:
    if isinstance(key, (str, int)):
        return str(key)
    raise TypeError(f"{where} has the key {key!r}; JSON keys must be strings.")
