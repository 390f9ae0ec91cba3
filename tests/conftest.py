"""Double precision for all tests; and, being here, it puts this folder on the path, so that tests find `problems`."""

from __future__ import annotations

import os

os.environ.setdefault("JAX_ENABLE_X64", "1")
