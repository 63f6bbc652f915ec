"""Prepares interfaces for the userspace datapath, which reads them through packet sockets beside the kernel's stack."""

from __future__ import annotations

from contextlib import suppress

from ovenbird.process.command import CommandFailed, run

NFT_TABLE = "ovenbird"


async def give_to_userspace(*interfaces: str) -> None:
    """Make interfaces ports of ovs-vswitchd alone; safe to repeat.

    The kernel still sees what arrives and would answer a second time, or let a workload talk to the host behind Open
    vSwitch's back: so it drops all of it (nftables, netdev ingress: behind the packet socket, before the stack). And
    it must fill in checksums when it sends (`tx off`), as nothing after ovs-vswitchd does.
    """
    if not interfaces:
        return
    chains = [
        f"add chain netdev {NFT_TABLE} on-{name} {{ type filter hook ingress device {name} priority 0; policy drop; }}"
        for name in interfaces
    ]
    await run("nft", "-f", "-", stdin="\n".join([f"add table netdev {NFT_TABLE}", *chains]) + "\n")
    for name in interfaces:
        await run("ethtool", "-K", name, "tx", "off")


async def give_back(name: str) -> None:
    """Let the kernel's stack have an interface again; one that was never taken, or is gone, is no error."""
    with suppress(CommandFailed):
        await run("nft", "delete", "chain", "netdev", NFT_TABLE, f"on-{name}")
