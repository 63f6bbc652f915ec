"""Which host is this? Name and address must be those of the cluster description, or nothing is started.

A host that guesses its identity could take another one's place in a database cluster, so every doubt is a refusal.
"""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path

from ovenbird.model.cluster import Cluster, Host
from ovenbird.model.errors import Refused, UserError
from ovenbird.model.layout import Layout


def node_name(layout: Layout, override: str = "") -> str:
    """Return this host's name: as told, else /etc/ovenbird/node, else the hostname."""
    if override:
        return override
    try:
        return layout.node_file.read_text(encoding="utf-8").strip() or socket.gethostname()
    except FileNotFoundError:
        return socket.gethostname()


def find_host(cluster: Cluster, name: str) -> Host:
    """Return this host's entry. Raises `UserError` naming the hosts there are."""
    host = cluster.host(name)
    if host is None:
        there = ", ".join(f"{one.name} ({one.address})" for one in cluster.hosts)
        raise UserError(
            f"this host's name {name!r} is not in the cluster description",
            code="unknown_node",
            subject=name,
            evidence=f"hosts of cluster {cluster.name}: {there}",
            hint=f"write one of these names to /etc/ovenbird/node, or add this host to cluster.yaml: {there}",
        )
    return host


async def check_address(cluster: Cluster, host: Host, remembered: Path, *, wait_s: float = 5.0) -> None:
    """Make sure that the host carries its address, waiting a little for the network to come up.

    `remembered` names the address of an underlay that Open vSwitch carries: it may be away until ovs-vswitchd is back.
    Raises `Refused` naming the hosts there are.
    """
    deadline = time.monotonic() + wait_s
    while not _is_local(host.address):
        if remembered.exists():
            return
        if time.monotonic() > deadline:
            there = ", ".join(f"{one.name} {one.address}" for one in cluster.hosts)
            raise Refused(
                f"this host is {host.name}, but no interface of it carries {host.address}",
                code="wrong_address",
                subject=host.name,
                evidence=f"hosts of cluster {cluster.name}: {there}",
                hint=f"correct cluster.yaml or /etc/ovenbird/node; the description has {there}",
            )
        await asyncio.sleep(0.1)


def _is_local(address: str) -> bool:
    """Whether this host can listen on the address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
