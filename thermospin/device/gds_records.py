"""Records of a GDSII file, as far as gdstk does not read them: unknown ones, and texts that are not UTF-8."""

from __future__ import annotations

import struct
from collections.abc import Iterator

#: Types of records that start a cell, end it, and give its name.
_START, _END, _NAME = 0x05, 0x07, 0x06
#: Types of records in a cell that gdstk reads, and those without geometry: nodes, flags, properties.
_KNOWN = frozenset([
    _START, _END, _NAME, 0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F, 0x10, 0x11, 0x12, 0x13, 0x15, 0x16, 0x17, 0x19,
    0x1A, 0x1B, 0x1C, 0x21, 0x26, 0x2A, 0x2B, 0x2C, 0x2D, 0x2E, 0x2F, 0x30, 0x31, 0x34,
])  # fmt: skip
#: Data type of records that hold text.
_TEXT = 6


def records(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield type, data type and data of each record; what follows a damaged one is left out."""
    place = 0
    while place + 4 <= len(content):
        length, kind, data_type = struct.unpack_from(">HBB", content, place)
        if length < 4 or place + length > len(content):
            return
        yield kind, data_type, content[place + 4 : place + length]
        place += length


def unknown(content: bytes) -> dict[tuple[str, int], int]:
    """Count the records that are lost in reading, by name of the cell and type of the record."""
    counts: dict[tuple[str, int], int] = {}
    cell: str | None = None
    for kind, _, data in records(content):
        if kind in (_START, _END):
            cell = "" if kind == _START else None
        elif kind == _NAME:
            cell = _decoded(data)
        elif cell is not None and kind not in _KNOWN:
            counts[cell, kind] = counts.get((cell, kind), 0) + 1
    return counts


def in_utf8(content: bytes) -> bytes:
    """Return the file with all texts in UTF-8; those that are not are taken for Latin-1."""
    out, place = [], 0
    for kind, data_type, data in records(content):
        place += len(data) + 4
        if data_type == _TEXT and not data.isascii():
            data = _decoded(data).encode()
            data += b"\0" * (len(data) % 2)
        out.append(struct.pack(">HBB", len(data) + 4, kind, data_type) + data)
    return b"".join(out) + content[place:]


def _decoded(data: bytes) -> str:
    data = data.rstrip(b"\0")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")
