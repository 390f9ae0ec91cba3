"""Names of signals, faults for unknown names, and suggestions of similar names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import NamedTuple

from thermospin.base.errors import InputError

_SIGNAL = re.compile(r"R(\d)(?:\.(.*))?")


class SignalName(NamedTuple):
    """The name of one signal, such as "thermal R2.spin".

    Attributes:
      experiment: name of the experiment.
      harmonic: n of V = ... + R_n I^n, or that of another probe and drive.
      part: name of a state, or "baseline" or "spin".
    """

    experiment: str
    harmonic: int
    part: str

    @classmethod
    def parse(cls, experiment: str, signal: str | None = None) -> SignalName:
        """Read a name in two parts, ("thermal", "R2.spin"), or as one string, "thermal R2.spin"."""
        if signal is None:
            experiment, _, signal = experiment.partition(" ")
        match = _SIGNAL.fullmatch(signal)
        if match is None:
            raise InputError(f"signal: got '{signal}'; expected a harmonic, a dot and a part, such as R2.spin")
        return cls(experiment, int(match[1]), match[2] or "")

    @classmethod
    def of(cls, name: str | Iterable[str]) -> SignalName:
        """Read a name as one string or as a pair, see `parse`."""
        return cls.parse(name) if isinstance(name, str) else cls.parse(*name)

    @classmethod
    def each(cls, names: str | Iterable[str | tuple[str, str]]) -> list[SignalName]:
        """Read names, each as `of` does, or one alone, which may be a pair."""
        if isinstance(names, str):
            return [cls.of(names)]
        match tuple(names):
            case str(experiment), str(signal) if _SIGNAL.fullmatch(signal):
                return [cls.parse(experiment, signal)]
            case several:
                return [cls.of(name) for name in several]

    @property
    def signal(self) -> str:
        """Harmonic and part, such as "R2.spin"."""
        return f"R{self.harmonic}.{self.part}"

    def __str__(self) -> str:
        """Return the name as one string."""
        return f"{self.experiment} {self.signal}"


def closest(name: str, allowed: Iterable[str], cutoff: float = 0.5) -> str | None:
    """Return the allowed name that is most similar to this one, None if none is as similar as `cutoff`, of 0 to 1."""
    lowered = {str(known).lower(): str(known) for known in allowed}
    close = difflib.get_close_matches(str(name).lower(), lowered, n=1, cutoff=cutoff)
    return lowered[close[0]] if close else None


def meant(name: str, allowed: Iterable[str]) -> str:
    """Ask for the most similar allowed name, or for those that are this one and a digit; "" if none is similar."""
    known = list(dict.fromkeys(str(known) for known in allowed))
    close = closest(name, known)
    numbered = [other for other in known if re.fullmatch(rf"{re.escape(str(name))}\d", other)]
    found = numbered if 1 < len(numbered) <= 3 else [close] if close else []
    quoted = " or ".join(f"'{other}'" for other in found)
    return f"did you mean {quoted}? " if found else ""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Describe the allowed names: first the most similar one, if there is one, then all of them."""
    known = list(allowed)
    return f"{meant(name, known)}{listed(known)}"


def listed(allowed: Iterable[str]) -> str:
    """Describe the allowed names."""
    known = list(dict.fromkeys(str(known) for known in allowed))
    return f"expected one of: {', '.join(known)}" if known else "there is none"


def no_parameter(name: str, allowed: Iterable[str]) -> str:
    """Return the fault of a parameter that does not exist; of the bath, which is not one, how to have another."""
    if name.lower() in ("bath", "t0"):
        return f"parameter '{name}': the bath is no parameter; build at another one: ts.build(ts.at_bath(device, 77.0))"
    return f"parameter '{name}' does not exist; {nearest(name, allowed)}"


def unknown(what: str, names: Iterable[str], known: Iterable[str], kind: str = "") -> list[str]:
    """Return a fault for each unknown name, such as "free: got 'Py.Ss'; did you mean 'Py.S_s'? ...".

    Args:
      what: the entry or option that contains the names; each fault starts with it.
      names: names to check.
      known: names that exist.
      kind: the word before each name, such as "contact"; "" for none.
    """
    known = list(known)
    got = f"got {kind} " if kind else "got "
    return [f"{what}: {got}'{name}'; {nearest(name, known)}" for name in names if name not in known]


def require_known(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Raise `InputError` with all faults unless every name is known; see `unknown`."""
    faults = unknown(what, names, known)
    if faults:
        raise InputError(faults)
