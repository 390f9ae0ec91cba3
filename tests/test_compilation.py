"""Flags of XLA: asked for where they are known, and never against what somebody has set."""

from __future__ import annotations

from importlib import metadata

import pytest

from thermospin.cli import runtime


@pytest.mark.parametrize(
    ("version", "given", "expected"),
    [
        ("0.10.2", None, runtime.FLAG),
        ("0.10.2", "--xla_x=1", f"--xla_x=1 {runtime.FLAG}"),
        ("0.10.2", "--xla_cpu_use_fusion_emitters=true", "--xla_cpu_use_fusion_emitters=true"),
        ("0.99.0", None, None),
        ("0.1.0", "--xla_x=1", "--xla_x=1"),
    ],
)
def test_the_flag_is_added_once_and_where_it_was_tried(
    monkeypatch: pytest.MonkeyPatch, version: str, given: str | None, expected: str | None
) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: version)
    environment = {} if given is None else {"XLA_FLAGS": given}
    for _ in range(2):
        runtime.quickly(environment)
        assert environment.get("XLA_FLAGS") == expected
