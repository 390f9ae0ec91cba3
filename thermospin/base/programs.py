"""Compiled programs: where they are kept between runs, and the precision that they need."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from thermospin.base.errors import FileError, InputError

#: XLA's newer emitters of loops take half as long again to compile for CPUs, and make programs that are no faster here.
#: An unknown flag is a fatal error: versions of jaxlib for which this one was tried.
EMITTERS, TRIED = "xla_cpu_use_fusion_emitters", ("0.10.",)


class FolderError(FileError):
    """A folder that cannot keep programs."""

    def __str__(self) -> str:
        return f"{self.filename}: cannot keep programs: {self.strerror}; expected a folder to write in"


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
      FolderError: it cannot be made or written.
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
        raise FolderError(error.errno, error.strerror, str(place)) from None
    import jax

    jax.config.update("jax_compilation_cache_dir", str(place))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return place


def require_double() -> None:
    """Refuse single precision.

    Raises:
      InputError: says how to switch on double precision.
    """
    import jax

    if not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        raise InputError(
            "JAX is in single precision, in which a spin signal drowns; "
            'call jax.config.update("jax_enable_x64", True) before anything else, or set JAX_ENABLE_X64=1'
        )
