"""ovn-northd of a central host. Every central host runs one; SB's lock makes one of them active."""

from __future__ import annotations

from ovenbird.model.cluster import Cluster, Database
from ovenbird.model.layout import Layout
from ovenbird.process import allocator
from ovenbird.process.daemon import DaemonSpec


def northd_spec(cluster: Cluster, layout: Layout) -> DaemonSpec:
    """Return the daemon. It gets every member of both databases: with one alone it would hang after a leader change."""
    return DaemonSpec(
        name="ovn-northd",
        argv=(
            "ovn-northd",
            f"--ovnnb-db={','.join(cluster.remotes(Database.NB))}",
            f"--ovnsb-db={','.join(cluster.remotes(Database.SB))}",
        ),
        pidfile=layout.ovn_run / "ovn-northd.pid",
        control=str(layout.ovn_run / "ovn-northd.ctl"),
        log=layout.ovn_log / "ovn-northd.log",
        env=allocator.environment(),
    )
