"""Makes one workload's end on this host, and undoes exactly that: a namespace with a veth pair, or an interface.

Every step looks first and can be repeated: after an agent's restart nothing changes, after a reboot everything is
made again. What was made is remembered on disk *before* it is made, so that a crash half-way leaves nothing that
nobody knows of.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ovenbird.model.errors import Refused
from ovenbird.plan.switch import WantedPort, interface_name
from ovenbird.process.command import CommandFailed, run

NAMESPACES = Path("/run/netns")
INSIDE = "eth0"
"""Name of the interface inside a workload's namespace."""
GENEVE_OVERHEAD = 58
"""Bytes that Geneve with OVN's option adds over IPv4: outer Ethernet is not counted, the inner one is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What is to be made, all values known."""

    port: str
    type: str
    """"namespace" or "interface"."""
    interface: str
    """Interface on this host that becomes a port of br-int."""
    mac: str
    dhcp: bool = True
    address: str = ""
    """With prefix length; for static addresses."""
    gateway: str = ""
    mtu: int = 1442

    @property
    def mark(self) -> str:
        """Mark of its port in Open vSwitch."""
        return mark_of(self.port)

    def switch_port(self) -> WantedPort:
        """Return its port on br-int; `iface-id` is what ovn-controller binds by."""
        ids = {"iface-id": self.port, "attached-mac": self.mac}
        return WantedPort(name=self.interface, mark=self.mark, interface_ids=ids)


def mark_of(port: str) -> str:
    """Return the mark that a workload's port carries in Open vSwitch."""
    return f"attachment:{port}"


def host_end(port: str) -> str:
    """Return the name of the veth end that stays on the host."""
    return interface_name("w-", port)


@dataclass(slots=True)
class Record:
    """What this host made for workloads, kept in a file."""

    path: Path
    made: dict[str, dict[str, str]] = field(default_factory=dict)
    """port -> {type, interface}"""
    cluster_id: str = ""
    """Cluster of the Ovenbird database that it was made for."""

    @classmethod
    def load(cls, path: Path) -> Record:
        """Read the file; a missing one is empty."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(path, content["made"], content["cluster_id"])
        except FileNotFoundError:
            return cls(path)

    def add(self, workload: Workload) -> None:
        """Remember, before anything is made."""
        entry = {"type": workload.type, "interface": workload.interface}
        if self.made.get(workload.port) != entry:
            self.made[workload.port] = entry
            self._save()

    def belong_to(self, cluster_id: str) -> None:
        """Remember the cluster. Raises `Refused` when what is there was made for another one.

        A database that was made anew knows of no attachment; that must not unplug every workload.
        """
        if self.made and self.cluster_id and cluster_id != self.cluster_id:
            raise Refused(
                f"this host's workloads were attached for the Ovenbird cluster {self.cluster_id}, not for {cluster_id}",
                code="other_cluster",
                subject=str(self.path),
                evidence=f"{len(self.made)} workloads, which are left as they are",
                hint=f"once the database holds the attachments again, write the new cluster id to {self.path}",
            )
        if self.cluster_id != cluster_id:
            self.cluster_id = cluster_id
            self._save()

    def remove(self, port: str) -> None:
        """Forget, after everything is undone."""
        if self.made.pop(port, None) is not None:
            self._save()

    def _save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        half = self.path.with_suffix(".new")
        with half.open("w", encoding="utf-8") as file:
            json.dump({"cluster_id": self.cluster_id, "made": self.made}, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        half.rename(self.path)


def interface_exists(name: str) -> bool:
    """Whether this host has the interface."""
    return Path("/sys/class/net", name).exists()


def is_made(workload: Workload) -> bool:
    """Whether namespace and interface are there."""
    there = interface_exists(workload.interface)
    return there and (workload.type == "interface" or (NAMESPACES / workload.port).exists())


async def make_namespace(workload: Workload, *, ours: bool) -> None:
    """Make the namespace and its veth pair. Raises `Refused` when a namespace of that name is there and is not ours."""
    name = workload.port
    if (NAMESPACES / name).exists():
        if not ours:
            raise Refused(
                f"a network namespace {name} exists on this host and was not made for this port",
                code="namespace_taken",
                subject=name,
                hint=f"remove it (ip netns delete {name}) or rename the port",
            )
    else:
        await run("ip", "netns", "add", name)
    if not interface_exists(workload.interface):
        await run("ip", "link", "add", workload.interface, "type", "veth", "peer", "name", INSIDE, "netns", name)
    inside = [
        "link set lo up",
        f"link set {INSIDE} address {workload.mac} mtu {workload.mtu}",
        f"link set {INSIDE} up",
    ]
    await run("ip", "-netns", name, "-batch", "-", stdin="\n".join(inside) + "\n")
    await run("ip", "link", "set", workload.interface, "up")
    # Checksums must be complete when ovs-vswitchd reads a packet from the veth.
    await run("ip", "netns", "exec", name, "ethtool", "-K", INSIDE, "tx", "off")


async def give_address(workload: Workload, script: Path) -> str:
    """Configure the namespace's interface and return its address, "" when DHCP did not answer yet."""
    name = workload.port
    if workload.dhcp:
        await _ask_dhcp(name, script)
    else:
        batch = [f"address replace {workload.address} dev {INSIDE}"]
        batch += [f"route replace default via {workload.gateway}"] if workload.gateway else []
        await run("ip", "-netns", name, "-batch", "-", stdin="\n".join(batch) + "\n")
    return await address_inside(name)


async def _ask_dhcp(name: str, script: Path) -> None:
    """Run udhcpc once: three requests, one second apart. The lease needs no renewal: the declared address stays."""
    if not script.exists():
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_bytes(Path(__file__).with_name("udhcpc.sh").read_bytes())
        script.chmod(0o755)
    words = ("udhcpc", "-i", INSIDE, "-f", "-n", "-q", "-t", "3", "-T", "1", "-O", "mtu", "-s", str(script))
    try:
        await run("ip", "netns", "exec", name, *words, timeout_s=15)
    except CommandFailed as error:
        if error.status != 1:
            raise


async def address_inside(name: str) -> str:
    """Return the IPv4 address of a workload's namespace, or ""."""
    links: list[Mapping[str, Any]] = json.loads(
        await run("ip", "-netns", name, "-json", "-4", "address", "show", INSIDE)
    )
    addresses = [one["local"] for link in links for one in link.get("addr_info", ())]
    return str(addresses[0]) if addresses else ""


async def undo_namespace(port: str, interface: str) -> None:
    """Remove the veth pair and the namespace; what is gone already is no error."""
    if interface_exists(interface):
        await run("ip", "link", "delete", interface)
    if (NAMESPACES / port).exists():
        await run("ip", "netns", "delete", port)
