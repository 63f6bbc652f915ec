"""The reference of commands is what the commands say of themselves."""

from __future__ import annotations

from pathlib import Path

from ovenbird.cli.reference import page

PAGE = Path(__file__).parents[2] / "docs/reference-cli.md"


def test_the_reference_is_fresh():
    assert PAGE.read_text() == page(), "run scripts/reference-cli"
