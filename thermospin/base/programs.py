"""Compiled programs that are kept between runs."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


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
