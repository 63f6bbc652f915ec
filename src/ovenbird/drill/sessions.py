"""One long TCP connection over each way through a gateway: what is left of it when that gateway dies.

Beside the usual stage it declares a workload with a stateless floating IP, one behind a load balancer, and one behind
a router that does not translate at all, to which the outside host is given a route. Everything is named `drill-...`
and goes with `strike`; what a killed run left goes with the stage, but for that route, which does no harm.
"""

from __future__ import annotations

import contextlib
import json
import time

from ovenbird.drill.load import Place, Stream
from ovenbird.drill.probe import PULL_PORT, TCP_PORT
from ovenbird.drill.stage import (
    DISTRIBUTED_PORT,
    FIP_PORT,
    GATEWAYS,
    NETWORK,
    OUTSIDE_NODE,
    POLL_S,
    SNAT_PORT,
    Api,
    Stage,
    assigned,
    attach,
    document,
    stream,
    wait_attached,
)
from ovenbird.lab.lab import Lab
from ovenbird.model.errors import Refused, Timeout

ROUTER, PLAIN_NETWORK, PLAIN_CIDR = "drill-plain-r", "drill-plain-net", "10.213.2.0/24"
STATELESS_PORT, BALANCED_PORT, PLAIN_PORT = "drill-stateless", "drill-balanced", "drill-plain"
HOMES = frozenset({STATELESS_PORT, BALANCED_PORT, PLAIN_PORT})
OBJECTS = frozenset(
    {
        ("Router", ROUTER),
        ("Network", PLAIN_NETWORK),
        *(("Port", port) for port in HOMES),
        ("FloatingIP", STATELESS_PORT),
        ("LoadBalancer", BALANCED_PORT),
    }
)
BREAKING = frozenset({"snat-download", "load-balancer-tcp", "load-balancer-download"})
"""Connections that a new gateway does not know, and cannot learn from what it sees (docs/gateways.md)."""
UNFELT = frozenset({"distributed-tcp", "distributed-download"})
"""Connections that pass no gateway."""
STEADY_S = 3.0
"""Both routers must have been on one gateway for this long: gateways of a new router may claim it in turn."""


def prepare(lab: Lab, api: Api, stage: Stage, *, timeout_s: float = 60.0) -> tuple[Stream, ...]:
    """Declare and attach what the sessions need beside the stage, and return the streams.

    Both routers are carried by the same gateway afterwards. Raises `Timeout` naming what is not ready.
    """
    text = "---\n".join(json.dumps(one) + "\n" for one in _documents(stage.external))
    answer = api.post("/v1/apply", {"documents": [{"file": "drill", "text": text}], "dry_run": False})
    homes = {
        STATELESS_PORT: stage.workloads[SNAT_PORT],
        BALANCED_PORT: stage.workloads[FIP_PORT],
        PLAIN_PORT: stage.workloads[SNAT_PORT],
    }
    for port, node in homes.items():
        attach(api, port, node)
    wait_attached(api, list(homes), timeout_s)
    api.post("/v1/wait", {"revision": answer.get("revision"), "timeout_s": timeout_s}, timeout_s=timeout_s + 5)
    _carry_together(api, stage.router, timeout_s)
    lab.outside.run(["ip", "route", "replace", PLAIN_CIDR, "via", assigned(api, "Router", ROUTER)]).checked(
        subject=OUTSIDE_NODE
    )
    return _streams(api, stage, {port: Place(node, port) for port, node in {**stage.workloads, **homes}.items()})


def strike(lab: Lab, api: Api) -> None:
    """Take all of it away again; safe to repeat."""
    lab.outside.run(["ip", "route", "flush", "exact", PLAIN_CIDR])
    attached = {str(one["port"]) for one in api.get("/v1/attachments")["attachments"]}
    for port in HOMES & attached:
        api.delete(f"/v1/attachments/{port}")
    there = {(str(one["kind"]), str(one["name"])) for one in api.get("/v1/objects")["objects"]}
    ours = [{"kind": kind, "name": name} for kind, name in sorted(OBJECTS & there)]
    if ours:
        api.post("/v1/delete", {"objects": ours, "dry_run": False})


def _streams(api: Api, stage: Stage, places: dict[str, Place]) -> tuple[Stream, ...]:
    outside = Place(OUTSIDE_NODE)
    inward = {
        "load-balancer": (BALANCED_PORT, assigned(api, "LoadBalancer", BALANCED_PORT)),
        "floating-ip-in": (FIP_PORT, stage.floating_address),
        "stateless-in": (STATELESS_PORT, assigned(api, "FloatingIP", STATELESS_PORT)),
        "plain-in": (PLAIN_PORT, assigned(api, "Port", PLAIN_PORT)),
    }
    outward = {
        "snat": SNAT_PORT,
        "floating-ip": FIP_PORT,
        "stateless": STATELESS_PORT,
        "distributed": DISTRIBUTED_PORT,
        "plain": PLAIN_PORT,
    }
    found = []
    for kind, suffix in (("tcp", "tcp"), ("pull", "download")):
        found += [stream(f"{name}-{suffix}", places[p], outside, stage.outside, kind) for name, p in outward.items()]
        found += [stream(f"{name}-{suffix}", outside, places[p], to, kind) for name, (p, to) in inward.items()]
    return tuple(found)


def _documents(external: str) -> list[dict[str, object]]:
    listeners = [{"port": port, "targets": [{"port": BALANCED_PORT}]} for port in (TCP_PORT, PULL_PORT)]
    floating = {"network": external, "port": STATELESS_PORT, "stateless": True}
    return [
        document("Router", ROUTER, {"external": {"network": external, "snat": False}, "gateways": GATEWAYS}),
        document("Network", PLAIN_NETWORK, {"cidr": PLAIN_CIDR, "router": ROUTER}),
        document("Port", PLAIN_PORT, {"network": PLAIN_NETWORK}),
        document("Port", STATELESS_PORT, {"network": NETWORK}),
        document("Port", BALANCED_PORT, {"network": NETWORK}),
        document("FloatingIP", STATELESS_PORT, floating),
        document("LoadBalancer", BALANCED_PORT, {"network": external, "ports": listeners}),
    ]


def _carry_together(api: Api, stage_router: str, timeout_s: float) -> None:
    """Move the router that does not translate to the gateway of the other one, so that one fault hits both."""
    deadline_s = time.monotonic() + timeout_s
    since_s, asked = time.monotonic(), ""
    while time.monotonic() - since_s < STEADY_S:
        routers = {str(one["name"]): one for one in api.get("/v1/gateways")["routers"]}
        wanted = str((routers.get(stage_router) or {}).get("active") or "")
        mine = routers.get(ROUTER) or {"active": "", "order": ()}
        if not wanted or mine["active"] != wanted or next(iter(mine["order"]), "") != wanted:
            since_s = time.monotonic()
            if wanted and mine["active"] and asked != wanted:
                # A gateway is good only once that was seen for a while: ask again.
                with contextlib.suppress(Refused):
                    api.post("/v1/gateways/move", {"router": ROUTER, "to": wanted, "force": False, "dry_run": False})
                    asked = wanted
        if time.monotonic() > deadline_s:
            at = f"active on {mine['active'] or 'none'}"
            raise Timeout(f"{ROUTER} does not get to {wanted or 'any gateway'}", subject=ROUTER, evidence=at)
        time.sleep(POLL_S)
