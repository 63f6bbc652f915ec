"""The allocator is an offer: hosts without the library start the same daemons."""

from __future__ import annotations

from pathlib import Path

from ovenbird.process import allocator


def test_a_host_with_the_library_has_it_loaded(tmp_path: Path) -> None:
    (tmp_path / allocator.LIBRARY).touch()
    assert allocator.environment(tmp_path)["LD_PRELOAD"] == str(tmp_path / allocator.LIBRARY)


def test_a_host_without_it_has_nothing_loaded_that_is_not_there(tmp_path: Path) -> None:
    assert allocator.environment(tmp_path) == {"GLIBC_TUNABLES": allocator.GLIBC}
