"""Where a host's files and sockets lie (docs/architecture.md, "Files and sockets of a host"). Names only, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ovenbird.model.cluster import Database


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths of one host; `root` is "/" but for hosts that share a file system with others."""

    root: Path = Path("/")

    @property
    def cluster_file(self) -> Path:
        """Cluster description."""
        return self.root / "etc/ovenbird/cluster.yaml"

    @property
    def node_file(self) -> Path:
        """File with this host's name."""
        return self.root / "etc/ovenbird/node"

    @property
    def permission(self) -> Path:
        """Permission to create the databases, once."""
        return self.root / "etc/ovenbird/bootstrap"

    @property
    def state_dir(self) -> Path:
        """What the agent must remember across reboots."""
        return self.root / "var/lib/ovenbird"

    @property
    def api_socket(self) -> Path:
        """HTTP API."""
        return self.root / "run/ovenbird/api.sock"

    @property
    def agent_pidfile(self) -> Path:
        """Pid file of the agent, locked by it as OVS daemons lock theirs."""
        return self.root / "run/ovenbird/agent.pid"

    @property
    def ovn_run(self) -> Path:
        """Sockets and pid files of OVN's daemons."""
        return self.root / "run/ovn"

    @property
    def ovs_run(self) -> Path:
        """Sockets and pid files of Open vSwitch's daemons."""
        return self.root / "run/openvswitch"

    @property
    def ovn_log(self) -> Path:
        """Logs of OVN's daemons."""
        return self.root / "var/log/ovn"

    @property
    def ovs_log(self) -> Path:
        """Logs of Open vSwitch's daemons."""
        return self.root / "var/log/openvswitch"

    @property
    def conf_db(self) -> Path:
        """Open vSwitch's own database."""
        return self.root / "etc/openvswitch/conf.db"

    @property
    def ovs_socket(self) -> str:
        """OVSDB remote of Open vSwitch's own database."""
        return f"unix:{self.ovs_run / 'db.sock'}"

    @property
    def bird_run(self) -> Path:
        """BIRD's configuration, control socket and pid file: `bird.conf`, `bird.ctl`, `bird.pid`."""
        return self.root / "run/ovenbird"

    @property
    def bird_log(self) -> Path:
        """BIRD's log."""
        return self.root / "var/log/ovenbird/bird.log"

    @property
    def routed_networks(self) -> Path:
        """External networks that this host routes to, as they were declared when it last heard."""
        return self.state_dir / "routed.json"

    @property
    def southbound_relay(self) -> Path:
        """Stem of the sockets and the pid file of a gateway's relay of SB."""
        return self.ovn_run / "ovnsb_relay"

    @property
    def southbound_copy(self) -> Path:
        """Stem of the sockets and the pid file of the copy of SB that a gateway serves itself."""
        return self.ovn_run / "ovnsb_copy"

    @property
    def southbound_copy_file(self) -> Path:
        """That copy; there only while no SB member can be had."""
        return self.state_dir / "southbound-copy.db"

    @property
    def southbound_cluster(self) -> Path:
        """File with the id of the SB cluster that this host's ovn-controller has seen last."""
        return self.state_dir / "southbound.cid"

    def northd_cluster(self, database: Database) -> Path:
        """File with the id of the cluster of a database that this host's ovn-northd has seen last."""
        return self.state_dir / f"northd-{database.short}.cid"

    def database_file(self, database: Database) -> Path:
        """File of a RAFT database."""
        if database is Database.OVENBIRD:
            return self.state_dir / "ovenbird.db"
        return self.root / f"var/lib/ovn/ovn{database.short}_db.db"

    def database_run(self, database: Database) -> Path:
        """Stem of a RAFT database's sockets and pid file: add ".sock", ".ctl" or ".pid"."""
        if database is Database.OVENBIRD:
            return self.root / "run/ovenbird/db"
        return self.ovn_run / f"ovn{database.short}_db"

    def database_log(self, database: Database) -> Path:
        """Log of a RAFT database's server."""
        if database is Database.OVENBIRD:
            return self.root / "var/log/ovenbird/db.log"
        return self.ovn_log / f"ovsdb-server-{database.short}.log"
