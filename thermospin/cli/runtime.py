"""How XLA compiles for CPUs: the faster of its two ways, where it is known to have both."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from importlib import metadata

#: XLA's newer emitters of loops take half as long again to compile, and make programs that are no faster here. XLA ends
#: the process at a flag that it does not know: versions of jaxlib for which this one was tried.
FLAG, TRIED = "--xla_cpu_use_fusion_emitters=false", ("0.10.",)


def quickly(environment: MutableMapping[str, str] = os.environ) -> None:
    """Asks for it, unless the environment says something of it already; for programs, before JAX begins."""
    given = environment.get("XLA_FLAGS", "")
    if FLAG.partition("=")[0] not in given and metadata.version("jaxlib").startswith(TRIED):
        environment["XLA_FLAGS"] = f"{given} {FLAG}".strip()
