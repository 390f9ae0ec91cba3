"""What a compiled program sends from device to device, read from its text."""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Iterator

from thermospin.base.errors import InputError

#: What messages are called in the text of a program.
KINDS = ("collective-permute", "all-reduce", "all-gather", "all-to-all")
#: Bytes of a number of each type.
WIDTH = {"pred": 1, "bf16": 2, "f16": 2, "f32": 4, "s32": 4, "u32": 4, "f64": 8, "s64": 8, "u64": 8}


@dataclasses.dataclass(frozen=True)
class Messages:
    """Messages of one kind.

    Attributes:
      count: how many there are.
      bytes: that all devices together send; of a sum over devices those of its values, once for each device.
    """

    count: int
    bytes: int


def of_loop(text: str, devices: int) -> dict[str, Messages]:
    """What one pass through the program's loop sends, by kind: of conditions what the first branch does.

    Args:
      text: of a compiled program, `.compile().as_text()`; its loop is the one whose number of passes is not known.
      devices: number of them.
    Raises:
      ValueError: no such loop, or more than one.
    """
    bodies = dict(_computations(text))
    loops = [
        found[1]
        for body in bodies.values()
        for found in re.finditer(r" while\(.*body=%?([\w.-]+)(?!.*known_trip_count)", body)
    ]
    if len(loops) != 1:
        raise InputError(f"found {len(loops)} loops of unknown length in the program, expected one")
    counts, sent = collections.Counter[str](), collections.Counter[str]()

    def visit(name: str, times: int) -> None:
        for line in bodies[name].splitlines():
            if found := re.search(r" while\(.*body=%?([\w.-]+).*known_trip_count\D*(\d+)", line):
                visit(found[1], times * int(found[2]))
            elif found := re.search(r" conditional\(.*(?:branch_computations=\{|false_computation=)%?([\w.-]+)", line):
                visit(found[1], times)
            elif found := re.search(rf"= (.*?) ({'|'.join(KINDS)})(?:-start)?\(", line):
                counts[found[2]] += times
                sent[found[2]] += times * _sent(line, found[1], found[2], devices)

    visit(loops[0], 1)
    return {kind: Messages(counts[kind], sent[kind]) for kind in KINDS}


def _computations(text: str) -> Iterator[tuple[str, str]]:
    for part in re.split(r"(?m)^(?=%?[\w.-]+ \(|ENTRY)", text):
        if found := re.match(r"(?:ENTRY )?%?([\w.-]+) \(", part):
            yield found[1], part


def _sent(line: str, shape: str, kind: str, devices: int) -> int:
    """Bytes that all devices send by one message."""
    size = 0
    for dtype, dimensions in re.findall(r"(\w+)\[([\d,]*)\]", shape):
        count = 1
        for each in filter(None, dimensions.split(",")):
            count *= int(each)
        size += count * WIDTH[dtype]
    if kind == "collective-permute":
        return size * len(re.findall(r"\{\d+,\d+\}", line[line.index("source_target_pairs") :].split("}},")[0] + "}"))
    return size * (devices if kind == "all-reduce" else devices - 1)  # of the others a device keeps its own part
