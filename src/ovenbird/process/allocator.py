"""Which memory allocator the daemons use that make and drop millions of small objects.

They are bound by memory, and the C library's allocator is slow at that and keeps much (docs/adr/0013-allocator.md).
Only environment variables are chosen here; a host without jemalloc gets the C library's allocator, and nothing else
may depend on it.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path

LIBRARY = "libjemalloc.so.2"
"""Debian's package libjemalloc2."""
JEMALLOC = "thp:always,narenas:1"
"""jemalloc(3), TUNING: huge pages, if the kernel gives some; one arena, since one thread does the work."""
GLIBC = "glibc.malloc.hugetlb=1"
"""Huge pages, too (tunables of glibc 2.35 and later; older ones ignore it)."""


LIBRARIES = Path("/usr/lib", str(sysconfig.get_config_var("MULTIARCH") or ""))


def environment(libraries: Path = LIBRARIES) -> dict[str, str]:
    """Return what to add to a daemon's environment. `libraries` is the folder in which the host keeps them."""
    library = libraries / LIBRARY
    if library.exists():
        return {"LD_PRELOAD": str(library), "MALLOC_CONF": JEMALLOC}
    return {"GLIBC_TUNABLES": GLIBC}
