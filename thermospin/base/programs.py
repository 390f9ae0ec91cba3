"""Compiled programs that are kept between runs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

#: XLA's newer emitters of loops take half as long again to compile for CPUs, and make programs that are no faster here.
#: An unknown flag is a fatal error: versions of jaxlib for which this one was tried.
EMITTERS, TRIED = "xla_cpu_use_fusion_emitters", ("0.10.",)


def without_emitters(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether to switch off XLA's newer emitters: where it was tried, and the environment says nothing else."""
    return EMITTERS not in environment.get("XLA_FLAGS", "") and metadata.version("jaxlib").startswith(TRIED)


def keep_programs(folder: str | Path | None = None) -> Path | None:
    """Keep compiled programs in a folder, so that the next script or notebook does not compile them again.

    Args:
      folder: where; None: where THERMOSPIN_CACHE says, which may be empty for nowhere, or else the user's cache folder.
    Returns:
      the folder, None for nowhere.
    Raises:
      OSError: it cannot be made or written.
    """
    if folder is None:
        folder = os.environ.get("THERMOSPIN_CACHE")
    if folder is None:
        import platformdirs

        folder = platformdirs.user_cache_dir("thermospin", appauthor=False)
        if not Path(folder).is_absolute():
            return None  # no home
    if not str(folder):
        return None
    place = Path(folder).expanduser()
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(place)) from None
    import jax

    jax.config.update("jax_compilation_cache_dir", str(place))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return place
