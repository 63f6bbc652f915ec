"""What `cluster.yaml` says of BGP: to its typed form and back, and what must be so among its fields.

Problems are (message, path, hint), for `cluster_file.py` to give them their lines. It must never judge one field alone:
see `cluster_fields.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from ovenbird.model.cluster import Bfd, Bgp, Neighbor, Role
from ovenbird.model.cluster_fields import BgpFields, HostFields
from ovenbird.model.located_yaml import Path

Found = tuple[str, Path, str]
"""Message, path of the field, hint."""


def bgp_of(fields: BgpFields) -> Bgp:
    """Return what good fields describe."""
    return Bgp(
        asn=fields.asn,
        physnets=fields.physnets,
        neighbors=tuple(Neighbor(address=each.address, asn=each.asn) for each in fields.neighbors),
        bfd=Bfd(**dict(fields.bfd)) if fields.bfd is not None else None,
    )


def render_bgp(bgp: Bgp) -> dict[str, Any]:
    """Return the fields of a cluster file that say the same."""
    return {
        "asn": bgp.asn,
        "physnets": list(bgp.physnets),
        "neighbors": [asdict(each) for each in bgp.neighbors],
        **({"bfd": asdict(bgp.bfd)} if bgp.bfd is not None else {}),
    }


def bgp_problems(at: int, host: HostFields) -> Iterator[Found]:
    """Judge one host, the one at that place of the file."""
    bgp, path = host.bgp, ("hosts", at, "bgp")
    if bgp is None:
        return
    if Role.GATEWAY.value not in host.roles:
        message = f"host {host.name} has bgp, and is no gateway: nothing that routes lead to is carried there"
        yield message, path, "give it the role gateway, or leave bgp out"
    if not bgp.physnets:
        yield f"bgp of {host.name} names no physnet", (*path, "physnets"), "for instance physnets: [routed]"
    if not bgp.neighbors:
        hint = "for instance neighbors: [{address: 10.0.0.1, asn: 64600}]"
        yield f"bgp of {host.name} has no neighbor: nobody would be told of a route", (*path, "neighbors"), hint
    for index, physnet in enumerate(bgp.physnets):
        where: Path = (*path, "physnets", index)
        if physnet in bgp.physnets[:index]:
            yield f"physnet {physnet} is named twice", where, "name it once"
        if physnet in host.uplinks:
            message = f"{host.name} has an uplink to {physnet} and routes to it as well"
            yield message, where, "either the uplink, or the route: an interface joins hosts on layer 2"
    yield from _neighbor_problems(path, host.name, host.address, [each.address for each in bgp.neighbors])


def _neighbor_problems(path: Path, name: str, own: str, addresses: Sequence[str]) -> Iterator[Found]:
    for index, address in enumerate(addresses):
        where = (*path, "neighbors", index, "address")
        if address == own:
            yield f"neighbor {address} is {name} itself", where, "the address of the router upstream"
        if address in addresses[:index]:
            yield f"neighbor {address} is named twice", where, "one session for each router"


def bgp_problems_among(hosts: Sequence[HostFields]) -> Iterator[Found]:
    """Judge what hosts say of the same physical network."""
    by_uplink = {physnet: host.name for host in reversed(hosts) for physnet in host.uplinks}
    for at, host in enumerate(hosts):
        for index, physnet in enumerate(host.bgp.physnets if host.bgp is not None else ()):
            other = by_uplink.get(physnet, host.name)
            if other != host.name:
                message = f"{host.name} routes to {physnet}, and {other} has an uplink to it"
                hint = "a physical network is either one layer 2 for all, or routed by all"
                yield message, ("hosts", at, "bgp", "physnets", index), hint
