"""Files for other programs are complete, exact, and say what is wrong when they cannot be written."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from thermospin.base.errors import InputError
from thermospin.base.files import atomic_file, write_json, write_vtr
from thermospin.base.frames import optional
from thermospin.signals.results import NodalFields


@pytest.fixture
def fields() -> NodalFields:
    rng = np.random.default_rng(0)
    x, y, z = (np.cumsum(rng.uniform(0.1, 2.0, n)) * 1e-9 for n in (5, 4, 3))
    V_up, V_down, T = rng.normal(size=(3, 5, 4, 3))
    V_up[:2] = V_down[:2] = np.nan
    T[0, 0] = np.nan
    return NodalFields(x, y, z, V_up, V_down, T)


def read_vtr(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Parses a .vtr with nothing but an XML reader and base64: section -> name -> array."""
    root = ET.parse(path).getroot()
    assert root.attrib["type"] == "RectilinearGrid" and root.attrib["byte_order"] == "LittleEndian"
    piece = root.find("./RectilinearGrid/Piece")
    assert piece is not None
    extent = [int(n) for n in piece.attrib["Extent"].split()]
    counts = np.array(extent[1::2]) + 1
    kinds = {"Float64": "<f8", "Float32": "<f4", "Int64": "<i8", "Int32": "<i4", "UInt8": "u1"}
    sections: dict[str, dict[str, np.ndarray]] = {}
    for section in piece:
        arrays = sections.setdefault(section.tag, {})
        shape = {"PointData": counts, "CellData": counts - 1}.get(section.tag)
        for array in section:
            payload = base64.b64decode(array.text or "")
            assert int.from_bytes(payload[:8], "little") == len(payload) - 8
            values = np.frombuffer(payload[8:], dtype=kinds[array.attrib["type"]])
            arrays[array.attrib["Name"]] = values if shape is None else values.reshape(shape, order="F")
    return sections


def test_vtr_reads_back_equal_to_the_last_bit(fields, tmp_path):
    domain = np.arange(4 * 3 * 2, dtype=np.int32).reshape(4, 3, 2)
    write_vtr(tmp_path / "a.vtr", fields, {"domain": domain, "metal": domain > 5, 'odd "<&> name': domain * 0.5})
    back = read_vtr(tmp_path / "a.vtr")
    for axis in "xyz":
        np.testing.assert_array_equal(back["Coordinates"][axis], getattr(fields, axis))
    for name in ("V_up", "V_down", "T"):
        np.testing.assert_array_equal(back["PointData"][name], getattr(fields, name))
    np.testing.assert_array_equal(back["PointData"]["V_s"], fields.V_up - fields.V_down)
    np.testing.assert_array_equal(back["PointData"]["V_c"], (fields.V_up + fields.V_down) / 2)
    np.testing.assert_array_equal(back["CellData"]["domain"], domain)
    np.testing.assert_array_equal(back["CellData"]["metal"], domain > 5)
    np.testing.assert_array_equal(back["CellData"]['odd "<&> name'], domain * 0.5)
    assert [p.name for p in tmp_path.iterdir()] == ["a.vtr"]


def test_cell_data_of_second_order_elements_fills_every_node_interval(fields, tmp_path):
    wide = dataclasses.replace(
        fields, y=np.arange(3.0), **{n: getattr(fields, n)[:, :3] for n in ("V_up", "V_down", "T")}
    )
    domain = np.array([[[3]], [[-1]]])
    write_vtr(tmp_path / "a.vtr", wide, {"domain": domain})
    back = read_vtr(tmp_path / "a.vtr")["CellData"]["domain"]
    assert back.shape == (4, 2, 2) and np.all(back[:2] == 3) and np.all(back[2:] == -1)


def test_vectors_have_their_components_together(fields, tmp_path):
    """As VTK has it: three numbers of a cell, then those of the next one along x."""
    J = np.random.default_rng(1).normal(size=(4, 3, 2, 3))
    write_vtr(tmp_path / "a.vtr", fields, {"J": J})
    array = ET.parse(tmp_path / "a.vtr").getroot().find("./RectilinearGrid/Piece/CellData/DataArray")
    assert array is not None and array.attrib["NumberOfComponents"] == "3"
    numbers = np.frombuffer(base64.b64decode(array.text or "")[8:], "<f8").reshape(-1, 3)
    np.testing.assert_array_equal(numbers[:2], [J[0, 0, 0], J[1, 0, 0]])
    np.testing.assert_array_equal(numbers[4], J[0, 1, 0])


def test_vtk_itself_reads_the_file(fields, tmp_path):
    vtk = pytest.importorskip("vtk", reason="vtk is not installed")
    from vtk.util.numpy_support import vtk_to_numpy

    write_vtr(tmp_path / "a.vtr", fields, {"domain": np.arange(24).reshape(4, 3, 2)})
    reader = vtk.vtkXMLRectilinearGridReader()
    reader.SetFileName(str(tmp_path / "a.vtr"))
    reader.Update()
    grid = reader.GetOutput()
    T = vtk_to_numpy(grid.GetPointData().GetArray("T")).reshape((5, 4, 3), order="F")
    np.testing.assert_array_equal(T, fields.T)
    np.testing.assert_array_equal(vtk_to_numpy(grid.GetXCoordinates()), fields.x)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"T": np.zeros((5, 4, 2))}, ["'T'", "(5, 4, 2)", "(5, 4, 3)"]),
        ({"x": np.array([0.0, 1, 2, 2, 3])}, ["'x'", "ascending"]),
        ({"y": np.array([0.0, 1, np.nan, 3])}, ["'y'", "ascending"]),
    ],
)
def test_arrays_that_do_not_fit_are_named(fields, tmp_path, change, words):
    with pytest.raises(ValueError) as caught:
        write_vtr(tmp_path / "a.vtr", dataclasses.replace(fields, **change))
    assert all(word in str(caught.value) for word in words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cells", [np.zeros((5, 4, 3)), np.zeros((3, 3, 2)), np.zeros((4, 3)), np.zeros((0, 3, 2))])
def test_cell_data_that_does_not_fit_is_refused(fields, tmp_path, cells):
    with pytest.raises(ValueError, match="Cell data 'domain' has shape"):
        write_vtr(tmp_path / "a.vtr", fields, {"domain": cells})


def test_cell_data_that_is_not_a_number_is_refused(fields, tmp_path):
    with pytest.raises(ValueError, match="'name' is of type"):
        write_vtr(tmp_path / "a.vtr", fields, {"name": np.full((4, 3, 2), "Cu")})


def test_json_takes_numpy_and_dataclasses_and_stays_strict(fields, tmp_path):
    data = {
        "n": np.int64(3),
        "value": np.float64(1.5),
        "array": np.arange(3),
        "ok": np.bool_(True),
        "nan": float("nan"),
        "inf": np.array([np.inf, 1.0]),
        "path": Path("a/b"),
        "row": fields,
        "unit": "µV",
        "tuple": (1, None),
    }
    write_json(tmp_path / "a.json", data)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "NaN" not in text and "Infinity" not in text and text.endswith("\n")
    back = json.loads(text)
    assert back["n"] == 3 and back["value"] == 1.5 and back["array"] == [0, 1, 2] and back["ok"] is True
    assert back["nan"] is None and back["inf"] == [None, 1.0] and back["path"] == "a/b"
    assert back["row"]["x"] == fields.x.tolist() and back["unit"] == "µV" and back["tuple"] == [1, None]


def test_json_says_where_the_thing_is_that_it_cannot_write(tmp_path):
    with pytest.raises(TypeError, match=r"data\['a'\]\[1\] is a set"):
        write_json(tmp_path / "a.json", {"a": [1, {2}]})
    with pytest.raises(TypeError, match="key"):
        write_json(tmp_path / "a.json", {(1, 2): 3})
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named_with_the_reason(fields, tmp_path):
    missing = tmp_path / "nowhere" / "a.vtr"
    with pytest.raises(OSError, match="there is no folder") as caught:
        write_vtr(missing, fields)
    assert str(missing) in str(caught.value)
    with pytest.raises(OSError, match="it is a folder"):
        write_json(tmp_path, {})
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Cannot write"):
        write_json(tmp_path / "file" / "a.json", {})
    with pytest.raises(OSError, match="Cannot write"):
        write_json(tmp_path / ("n" * 300), {})


def test_a_failure_half_way_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), atomic_file(path) as file:
        file.write(b"new")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "a view needs shaky, which is not installed: pip install 'thermospin[view]'"),
        ("import shaky.gone", "a view needs shaky, which cannot be imported (No module named 'shaky.gone'): install"),
    ],
    ids=["absent", "broken"],
)
def test_an_optional_library_is_told_how_it_fails(
    content: str | None, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content is not None:
        (tmp_path / "shaky").mkdir()
        (tmp_path / "shaky" / "__init__.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=re.escape(told)):
        optional("shaky", "a view", "view")
