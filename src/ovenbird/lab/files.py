"""What an administrator would write on a host before its first boot: names, cluster description, bootstrap permit.

Written to the node's disk from outside, before the node is powered on. This module must never write outside that disk.
"""

from __future__ import annotations

from pathlib import Path

from ovenbird.lab.spec import OUTSIDE, LabSpec
from ovenbird.model.cluster_file import render_cluster


def write(disk: Path, name: str, spec: LabSpec) -> None:
    """Write the files of one node to its disk; the same content again changes nothing."""
    etc = disk / "etc"
    (etc / "ovenbird").mkdir(parents=True, exist_ok=True)
    hosts = "".join(f"{node.address}\t{node.name}\n" for node in spec.nodes)
    _write(etc / "hostname", f"{name}\n")
    _write(etc / "hosts", f"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n{hosts}")
    if name != OUTSIDE:
        _write(etc / "ovenbird" / "node", f"{name}\n")
        _write(etc / "ovenbird" / "cluster.yaml", render_cluster(spec.cluster()))


def permit_bootstrap(disk: Path) -> None:
    """Allow the node to create the databases. Its agent renames the file after use."""
    _write(disk / "etc" / "ovenbird" / "bootstrap", "")


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
