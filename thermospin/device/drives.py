"""Words for what drives and probes experiments, and how large drives usually are."""

from __future__ import annotations

import dataclasses

from thermospin.base import units
from thermospin.device.parts import DRIVE_UNITS, Experiment


@dataclasses.dataclass(frozen=True)
class Drive:
    """A kind of drive in words.

    Attributes:
      name: what it is.
      symbol: in equations, as matplotlib reads it.
      unit, size: that it is printed in, and the size of that unit in SI.
      typical: size of a drive that nothing is said of, SI units.
    """

    name: str
    symbol: str
    unit: str
    size: float
    typical: float

    def words(self, value: float) -> str:
        """Write a drive [SI units] as people do: "1.5 mA", "10 K"."""
        return f"{units.tidy(value / self.size):g} {self.unit}"


#: By `Experiment.drive`.
DRIVES = {
    "current": Drive("current", "I", "mA", 1e-3, 1e-3),
    "heat": Drive("temperature rise", r"\Delta T", "K", 1.0, 10.0),
    "power": Drive("power", "P", "mW", 1e-3, 1e-3),
}
#: By `Experiment.probe`.
PROBES = {
    "voltage": "voltage",
    "temperature": "temperature",
    "spin": "spin current",
    "charge": "current",
    "heat": "heat flow",
}


def drive_of(experiment: Experiment) -> Drive:
    """Return the words for the drive of an experiment."""
    return DRIVES[experiment.drive]


def drive_of_unit(unit: str) -> Drive:
    """Return the words for the drive of a response in that SI unit: a power for "K/W"; a current for ""."""
    under = unit.partition("/")[2][:1]
    return next((DRIVES[kind] for kind, symbol in DRIVE_UNITS.items() if symbol == under), DRIVES["current"])


def read_drive(text: str) -> tuple[float, str]:
    """Return the size of a drive in SI units and its kind, such as 2e-3 and "current" of "2 mA".

    Raises:
      UnitError: none of a current, a temperature rise and a power.
    """
    for kind, of in (("current", "current"), ("heat", "temperature"), ("power", "power")):
        try:
            return units.parse(text, of), kind
        except units.UnitError:
            continue
    raise units.UnitError(
        f'--drive: got "{text}", expected a current, a temperature rise or a power: "2 mA", "10 K", "1 mW"'
    )


def usual_drive(experiment: Experiment) -> float:
    """Return the size of the drive that fields are shown at: what the device file gives, or 1 mA [A, K or W]."""
    given = (*experiment.heat.values(), *experiment.power.values())
    return given[0] if given and given[0] else drive_of(experiment).typical


def response_in_words(experiment: Experiment, harmonic: int) -> str:
    """Return what R_n of an experiment is: "R2 of experiment 'heater' (voltage per power^2)"."""
    power = f"^{harmonic}" if harmonic > 1 else ""
    probe, drive = PROBES[experiment.probe], drive_of(experiment).name
    under = f"({drive}){power}" if power and " " in drive else f"{drive}{power}"
    return f"R{harmonic} of experiment '{experiment.name}' ({probe} per {under})"
