"""The checker of annotations in tests: an int is a float too, as PEP 484 has it."""

from __future__ import annotations

from typing import Any, Self

from beartype import BeartypeConf, FrozenDict, beartype
from pydantic import ValidationInfo

#: What cannot be checked at run time counts as Any: Self in a function by itself, and a protocol of pydantic.
check = beartype(conf=BeartypeConf(is_pep484_tower=True, hint_overrides=FrozenDict({ValidationInfo: Any, Self: Any})))
