"""The stage of a drill: two small networks behind a router of their own, with workloads whose traffic is measured.

A drill must not depend on what somebody happened to declare, nor leave anything behind: it declares objects whose names
start with `drill-`, attaches workloads, and takes all of it away again. What a killed run left over is found by those
names and used again or removed. An external network is only borrowed if one exists, since two cannot share a physical
network. This module must never touch an object that it did not declare.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Network
from typing import Any, Protocol

from ovenbird.drill import writer
from ovenbird.drill.load import Place, Stream
from ovenbird.model.addresses6 import PREFIX_LEN
from ovenbird.model.errors import OvenbirdError, Refused, Timeout

PREFIX = "drill-"
ROUTER, NETWORK, FAR_NETWORK = "drill-r", "drill-net", "drill-far"
SNAT_PORT, FIP_PORT, DISTRIBUTED_PORT = "drill-snat", "drill-fip", "drill-dfip"
"""On `NETWORK`: a workload without and one with a floating IP; on `FAR_NETWORK`: one with a distributed floating IP.
The floating IPs have the names of their ports."""
EXTERNAL = "drill-ext"
CIDR, FAR_CIDR = "10.213.0.0/24", "10.213.1.0/24"
CIDR6 = "fd00:d1:0:1::/64"
FLOATING_NUMBER = 0xD1
"""Of the floating IP's IPv6 address in the external network's prefix."""
OUTSIDE_NODE = "outside"
GATEWAYS = {"failback": "delayed", "failback_delay_s": 2}
"""The default way home, but sooner: a run waits for it."""
POLL_S = 0.1
DELETE_AT_ONCE = 500


class Api(Protocol):
    """The HTTP API as a drill uses it."""

    def get(self, path: str, *, query: Mapping[str, str] | None = None, timeout_s: float = 15.0) -> dict[str, Any]:
        """Read something."""

    def post(self, path: str, body: Any, *, timeout_s: float = 60.0) -> dict[str, Any]:
        """Change something."""

    def delete(self, path: str, *, timeout_s: float = 60.0) -> dict[str, Any]:
        """Remove something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What a prepared stage offers to a drill."""

    router: str
    external: str
    outside: str
    """Address of the upstream router, which answers pings."""
    floating_address: str
    """Of the centralised floating IP."""
    distributed_address: str
    router_address: str
    """The router's in the external network: SNAT's, and that of its ARP answers."""
    workloads: Mapping[str, str]
    """port -> node that it is attached on."""
    addresses: Mapping[str, str]
    """port -> its own address."""
    outside6: str = ""
    """IPv6 address of the upstream router; "" where it has none, and nothing is measured by IPv6."""
    floating_address6: str = ""

    @property
    def gateway_addresses(self) -> tuple[str, ...]:
        """Addresses for which only the active gateway may answer."""
        return tuple(address for address in (self.router_address, self.floating_address) if address)

    @property
    def gateway_port(self) -> str:
        """Logical port that the active gateway claims."""
        return f"cr-{self.router}_{self.external}"


def prepare(
    api: Api,
    computes: Sequence[str],
    *,
    outside: str,
    physnet: str,
    outside6: str = "",
    idle: bool = False,
    timeout_s: float = 60.0,
) -> Stage:
    """Declare and attach what a drill needs, and return when packets can be expected to flow.

    `outside6`: the upstream router's IPv6 address; a network that is there already must have IPv6 for it. `idle`: the
    router alone, without networks and workloads. Raises `Refused` without a compute host; `Timeout` naming the chassis
    or the port that is not ready.
    """
    if not computes and not idle:
        raise Refused("a drill needs a compute host for its workloads", code="no_compute")
    external, extra, prefix6 = _external_network(api, outside, physnet, outside6)
    floating6 = str(IPv6Network(prefix6)[FLOATING_NUMBER]) if prefix6 and not idle else ""
    forget_writes(api)
    documents = [*extra, *_documents(external, floating6, idle=idle)]
    text = "---\n".join(json.dumps(document) + "\n" for document in documents)
    answer = api.post("/v1/apply", {"documents": [{"file": "drill", "text": text}], "dry_run": False})
    places = () if idle else ((SNAT_PORT, 0), (FIP_PORT, -1), (DISTRIBUTED_PORT, -1))
    workloads = {port: computes[at] for port, at in places}
    for port, node in workloads.items():
        attach(api, port, node)
    wait_attached(api, list(workloads), timeout_s)
    api.post("/v1/wait", {"revision": answer.get("revision"), "timeout_s": timeout_s}, timeout_s=timeout_s + 5)
    return Stage(
        router=ROUTER,
        external=external,
        outside=outside,
        floating_address="" if idle else assigned(api, "FloatingIP", FIP_PORT),
        distributed_address="" if idle else assigned(api, "FloatingIP", DISTRIBUTED_PORT),
        router_address=assigned(api, "Router", ROUTER),
        workloads=workloads,
        addresses={port: assigned(api, "Port", port) for port in workloads},
        outside6=outside6 if floating6 else "",
        floating_address6=floating6,
    )


def streams(stage: Stage) -> tuple[Stream, ...]:
    """Return every stream that the stage can carry; those between workloads have names that begin with "east-west"."""
    outside = Place(OUTSIDE_NODE)
    if not stage.workloads:
        return (stream("from-outside", outside, outside, stage.router_address),)
    snat, fip, far = (Place(stage.workloads[port], port) for port in (SNAT_PORT, FIP_PORT, DISTRIBUTED_PORT))
    address = stage.addresses
    by_ipv6 = (
        stream("snat-ipv6", snat, outside, stage.outside6),
        stream("from-outside-ipv6", outside, fip, stage.floating_address6),
    )
    return (
        stream("east-west", snat, fip, address[FIP_PORT]),
        stream("east-west-udp", snat, fip, address[FIP_PORT], "udp"),
        stream("east-west-tcp", snat, fip, address[FIP_PORT], "tcp"),
        stream("east-west-routed", snat, far, address[DISTRIBUTED_PORT]),
        stream("east-west-routed-tcp", snat, far, address[DISTRIBUTED_PORT], "tcp"),
        stream("snat", snat, outside, stage.outside),
        stream("snat-udp", snat, outside, stage.outside, "udp"),
        stream("snat-tcp", snat, outside, stage.outside, "tcp"),
        stream("floating-ip", fip, outside, stage.outside),
        stream("distributed", far, outside, stage.outside),
        stream("from-outside", outside, fip, stage.floating_address),
        stream("from-outside-tcp", outside, fip, stage.floating_address, "tcp"),
        stream("distributed-from-outside", outside, far, stage.distributed_address),
        *(by_ipv6 if stage.outside6 else ()),
    )


def forget_writes(api: Api) -> None:
    """Take away the ports that a writer declared, in parts that a small cluster can swallow."""
    there = api.get("/v1/objects", query={"kind": "Port"})["objects"]
    names = sorted(str(item["name"]) for item in there if str(item["name"]).startswith(writer.PREFIX))
    for start in range(0, len(names), DELETE_AT_ONCE):
        part = [{"kind": "Port", "name": name} for name in names[start : start + DELETE_AT_ONCE]]
        api.post("/v1/delete", {"objects": part, "dry_run": False})


def strike(api: Api) -> None:
    """Take the stage away; safe to repeat, also after a run that was killed."""
    for attachment in api.get("/v1/attachments")["attachments"]:
        if str(attachment["port"]).startswith(PREFIX):
            api.delete(f"/v1/attachments/{attachment['port']}")
    forget_writes(api)
    ours = [
        {"kind": item["kind"], "name": item["name"]}
        for item in api.get("/v1/objects")["objects"]
        if str(item["name"]).startswith(PREFIX)
    ]
    if ours:
        api.post("/v1/delete", {"objects": ours, "dry_run": False})


def _external_network(api: Api, outside: str, physnet: str, outside6: str) -> tuple[str, list[dict[str, Any]], str]:
    """Return the external network, what must be declared for it, and its IPv6 prefix if `outside6` is of it."""
    for item in api.get("/v1/objects", query={"kind": "ExternalNetwork"})["objects"]:
        spec = item["spec"]
        if spec["physnet"] == physnet and spec.get("gateway") == outside and not spec.get("vlan"):
            borrowed = spec.get("gateway6") == outside6 if outside6 else False
            return str(item["name"]), [], str(spec["cidr6"]) if borrowed else ""
    first_three = outside.rsplit(".", 1)[0]
    spec = {
        "physnet": physnet,
        "cidr": f"{first_three}.0/24",
        "gateway": outside,
        "pool": [f"{first_three}.200-{first_three}.219"],
    }
    prefix6 = str(IPv6Network((outside6, PREFIX_LEN), strict=False)) if outside6 else ""
    if prefix6:
        spec |= {"cidr6": prefix6, "gateway6": outside6}
    return EXTERNAL, [document("ExternalNetwork", EXTERNAL, spec)], prefix6


def _documents(external: str, floating6: str, *, idle: bool) -> list[dict[str, Any]]:
    distributed = {"network": external, "port": DISTRIBUTED_PORT, "distributed": True}
    leg = {"network": external, "snat": True, **({"snat6": True} if floating6 else {})}
    alone = [
        document("Router", ROUTER, {"external": leg, "gateways": GATEWAYS}),
        document("Network", writer.NETWORK, {"cidr": writer.CIDR, "dhcp": False}),
    ]
    if idle:
        return alone
    floating = {"address6": floating6} if floating6 else {}
    return [
        *alone,
        document("Network", NETWORK, {"cidr": CIDR, "router": ROUTER, **({"cidr6": CIDR6} if floating6 else {})}),
        document("Network", FAR_NETWORK, {"cidr": FAR_CIDR, "router": ROUTER}),
        document("Port", SNAT_PORT, {"network": NETWORK}),
        document("Port", FIP_PORT, {"network": NETWORK}),
        document("Port", DISTRIBUTED_PORT, {"network": FAR_NETWORK}),
        document("FloatingIP", FIP_PORT, {"network": external, "port": FIP_PORT, **floating}),
        document("FloatingIP", DISTRIBUTED_PORT, distributed),
    ]


def stream(name: str, source: Place, target: Place, address: str, kind: str = "icmp") -> Stream:
    """Return a stream between two places; `address` is the target's."""
    peer = None if kind == "icmp" else target
    return Stream(name=name, node=source.node, workload=source.workload, target=address, kind=kind, peer=peer)


def assigned(api: Api, kind: str, name: str) -> str:
    """Return the address that an object was assigned."""
    return str(api.get(f"/v1/objects/{kind}/{name}")["assigned"]["address"])


def document(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """Return a document of the API."""
    return {"kind": kind, "name": name, "spec": spec}


def attach(api: Api, port: str, node: str) -> None:
    """Have a port attached on a node, wherever it was before."""
    present = {item["port"]: item["node"] for item in api.get("/v1/attachments")["attachments"]}
    if present.get(port) == node:
        return
    if port in present:
        api.delete(f"/v1/attachments/{port}")
    api.post("/v1/attachments", {"port": port, "node": node, "spec": {"type": "namespace", "address": "static"}})


def wait_attached(api: Api, ports: Sequence[str], timeout_s: float) -> None:
    """Wait until the ports are attached. Raises `Timeout` naming those that are not."""
    deadline = time.monotonic() + timeout_s
    while True:
        states: dict[str, Any] = {}
        with contextlib.suppress(OvenbirdError):
            states = {item["port"]: item.get("status") or {} for item in api.get("/v1/attachments")["attachments"]}
        missing = [port for port in ports if states.get(port, {}).get("state") != "attached"]
        if not missing:
            return
        if time.monotonic() > deadline:
            raise Timeout(
                f"workloads are not attached after {timeout_s:g} s: {', '.join(missing)}",
                code="not_attached",
                evidence=json.dumps({port: states.get(port, {}) for port in missing}),
                hint="see the agent's log on the compute host: ovenbird lab logs NODE agent",
            )
        time.sleep(POLL_S)
