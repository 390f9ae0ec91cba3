"""What a compiled program sends from device to device, read from its text."""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from thermospin.base.errors import InputError
from thermospin.linear import multigrid
from thermospin.parallel.sharding import SLABS, Halo, Shards

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


@dataclasses.dataclass(frozen=True)
class Exchange:
    """What an iteration sends for one purpose, all devices together.

    Attributes:
      name: the purpose.
      times: how often in an iteration.
      messages: each device sends at most so many each time.
      sent: bytes each time, with padding.
      needed: bytes each time, without padding, and of what is gathered only once.
    """

    name: str
    times: int
    messages: int
    sent: int
    needed: int


def values_needed(halo: Halo) -> int:
    """How many values all devices together need: messages are in ascending order, then filled up with zeros."""
    return sum(
        len(ways) + int(np.count_nonzero(np.asarray(index)[:, 1:]))
        for ways, index in zip(halo.ways, halo.send, strict=True)
    )


def exchanges(shards: Shards) -> list[Exchange]:
    """What one iteration exchanges with one column of right-hand sides."""

    def halos(name: str, times: int, own: Sequence[Halo], widths: Sequence[int]) -> Exchange:
        sent = sum(
            len(ways) * sum(own[k].send[i].shape[-1] * widths[k] for k, i in each) for ways, each in Halo.messages(own)
        )
        needed = sum(values_needed(halo) * width for halo, width in zip(own, widths, strict=True))
        return Exchange(name, times, len(Halo.messages(own)), sent, needed)

    halo: Any = shards.system.disc.halo
    mgs: Any = shards.system.mg
    found = [halos("operator", 1, (halo.metal, halo.others), (3 * 8, 8))]  # two potentials and the temperature
    for number in range(max(len(mg.levels) for mg in mgs)):
        here = [
            (mg.levels[number], 4 * fields) for mg, fields in zip(mgs, (2, 1), strict=True) if number < len(mg.levels)
        ]
        levels, widths = zip(*here, strict=True)
        steps = 2 * multigrid.SMOOTHING_STEPS[number > 0]
        found.append(halos(f"level {number}: smoothing", steps, [each.edges.halo for each in levels], widths))
        found.append(halos(f"level {number}: down", 1, [each.restriction.halo for each in levels], widths))
        found.append(halos(f"level {number}: up", 1, [each.interpolation.halo for each in levels], widths))
    devices = shards.mesh.shape[SLABS]
    padded = max(mg.tail.nodes[0].size * 4 * fields for mg, fields in zip(mgs, (2, 1), strict=True))
    nodes = sum(mg.tail.place.shape[-1] * 4 * fields for mg, fields in zip(mgs, (2, 1), strict=True))
    return [*found, Exchange("coarse levels, there and back", 2, 1, (devices - 1) * padded, nodes)]
