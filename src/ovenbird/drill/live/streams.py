"""Which packets a live drill sends: those that the operator names, else pings of what this host's workloads can reach.

Only echo requests: nothing has to listen anywhere, and a workload's own programs are left alone. This module must never
send anything itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import AddressValueError, IPv4Address
from typing import Any

from ovenbird.drill.load import Stream
from ovenbird.drill.stage import Api
from ovenbird.model.errors import Refused, UserError

HOST = "host"
"""Instead of a workload's name: the host itself."""
MOST_WORKLOADS = 4


def parse(text: str, node: str) -> Stream:
    """Return the stream of `WORKLOAD=ADDRESS`; raises `UserError`."""
    workload, _, target = text.partition("=")
    try:
        address = str(IPv4Address(target))
    except AddressValueError:
        workload = ""
    if not workload:
        raise UserError(f'stream "{text}" is not of the form WORKLOAD=ADDRESS', hint="e.g. --stream vm1=172.16.0.254")
    return _stream(f"{workload}-{address}", node, workload, address)


def found(api: Api, node: str) -> list[Stream]:
    """Return pings among workloads, and to the next hop of their external network. Raises `Refused` without any."""
    attached = [one for one in api.get("/v1/attachments")["attachments"] if _is_attached(one)]
    ports = {one["name"]: one for one in _objects(api, "Port")}
    addresses = {
        one["port"]: str(ports[one["port"]]["assigned"]["address"]) for one in attached if one["port"] in ports
    }
    here = [
        one["port"]
        for one in attached
        if one["node"] == node and one["spec"].get("type") == "namespace" and one["port"] in ports
    ]
    next_hops = _next_hops(api, ports)
    streams = [
        stream
        for workload in here[:MOST_WORKLOADS]
        for stream in _of(workload, node, next_hops.get(workload), _peer(workload, attached, ports), addresses)
    ]
    if not streams:
        raise Refused(
            f"no workload with a network namespace of its own is attached on {node}: there is nothing to measure with",
            code="no_streams",
            subject=node,
            hint="name what may be pinged: --stream WORKLOAD=ADDRESS, or --stream host=ADDRESS from the host itself",
        )
    return streams


def _of(
    workload: str, node: str, next_hop: str | None, peer: str | None, addresses: Mapping[str, str]
) -> Iterator[Stream]:
    if next_hop:
        yield _stream(f"{workload}-outside", node, workload, next_hop)
    if peer:
        yield _stream(f"{workload}-{peer}", node, workload, addresses[peer])


def _peer(workload: str, attached: Sequence[Mapping[str, Any]], ports: Mapping[str, Any]) -> str | None:
    """Return another attached workload of the same network, on another host if there is one."""
    home = {one["port"]: one["node"] for one in attached}
    network = ports[workload]["spec"]["network"]
    others = [name for name in home if name != workload and name in ports and ports[name]["spec"]["network"] == network]
    return min(others, key=lambda name: (home[name] == home[workload], name), default=None)


def _next_hops(api: Api, ports: Mapping[str, Any]) -> dict[str, str]:
    """Return the next hop of each port's router, where there is one."""
    networks = {one["name"]: one["spec"] for one in _objects(api, "Network")}
    routers = {one["name"]: one["spec"] for one in _objects(api, "Router")}
    external = {one["name"]: one["spec"] for one in _objects(api, "ExternalNetwork")}
    hops = {}
    for name, port in ports.items():
        router = routers.get(str(networks.get(port["spec"]["network"], {}).get("router")), {})
        network = external.get(str((router.get("external") or {}).get("network")), {})
        if network.get("gateway"):
            hops[name] = str(network["gateway"])
    return hops


def _objects(api: Api, kind: str) -> list[dict[str, Any]]:
    return list(api.get("/v1/objects", query={"kind": kind})["objects"])


def _is_attached(one: Mapping[str, Any]) -> bool:
    return (one.get("status") or {}).get("state") == "attached"


def _stream(name: str, node: str, workload: str, target: str) -> Stream:
    return Stream(name=name, node=node, workload="" if workload == HOST else workload, target=target)
