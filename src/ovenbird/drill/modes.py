"""A second router on the stage, whose legs are gateway routers: many flows through them, and one of them is hit.

Everything is named `drill-mode...` and goes with the stage (`stage.strike`). Every flow goes to an address of its own
on the outside host: OVN spreads flows over the legs by their addresses (what came of it: `ovenbird.drill.spread`).
"""

from __future__ import annotations

import json
import time

from ovenbird.drill.load import Place, Stream
from ovenbird.drill.spread import SPREAD
from ovenbird.drill.stage import (
    FIP_PORT,
    OUTSIDE_NODE,
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
from ovenbird.model.errors import Timeout

ROUTER, NETWORK, CIDR = "drill-mode", "drill-mode-net", "10.213.3.0/24"
PORT, SERVED_PORT = "drill-mode", "drill-mode-fip"
KEYS = (("FloatingIP", SERVED_PORT), ("Port", PORT), ("Port", SERVED_PORT), ("Network", NETWORK), ("Router", ROUTER))
GATEWAYS = {"failback": "delayed", "failback_delay_s": 5}
POLL_S = 0.2
FAR = tuple(f"203.0.113.{number}" for number in range(1, 17))
"""Addresses behind the outside host, one for each flow (RFC 5737, for documentation: nobody else's)."""


def prepare(lab: Lab, api: Api, stage: Stage, mode: str, *, timeout_s: float = 60.0) -> tuple[Stream, ...]:
    """Declare and attach what a mode needs beside the stage, and return the streams. Raises `Timeout`."""
    text = "---\n".join(json.dumps(one) + "\n" for one in _documents(stage.external, mode))
    answer = api.post("/v1/apply", {"documents": [{"file": "drill", "text": text}], "dry_run": False})
    homes = {PORT: stage.workloads[SNAT_PORT], SERVED_PORT: stage.workloads[FIP_PORT]}
    for port, node in homes.items():
        attach(api, port, node)
    wait_attached(api, list(homes), timeout_s)
    api.post("/v1/wait", {"revision": answer.get("revision"), "timeout_s": timeout_s}, timeout_s=timeout_s + 5)
    if mode == "active-active":
        _carry_apart(api, timeout_s)
    for address in FAR:
        lab.outside.run(["ip", "address", "replace", f"{address}/32", "dev", "lo"]).checked(subject=OUTSIDE_NODE)
    outside, source = Place(OUTSIDE_NODE), Place(homes[PORT], PORT)
    flows = [stream(f"{SPREAD}{number:02}", source, outside, address) for number, address in enumerate(FAR, 1)]
    served = stream(
        "mode-from-outside", outside, Place(homes[SERVED_PORT], SERVED_PORT), assigned(api, "FloatingIP", SERVED_PORT)
    )
    return (*flows, served)


def strike(lab: Lab, api: Api) -> None:
    """Take away what `prepare` declared, attached and configured; safe to repeat."""
    for address in FAR:
        lab.outside.run(["ip", "address", "delete", f"{address}/32", "dev", "lo"])
    there = {(str(one["kind"]), str(one["name"])) for one in api.get("/v1/objects")["objects"]}
    attached = {str(one["port"]) for one in api.get("/v1/attachments")["attachments"]}
    for port in sorted(attached & {PORT, SERVED_PORT}):
        api.delete(f"/v1/attachments/{port}")
    ours = [{"kind": kind, "name": name} for kind, name in KEYS if (kind, name) in there]
    if ours:
        api.post("/v1/delete", {"objects": ours, "dry_run": False})


def _carry_apart(api: Api, timeout_s: float) -> None:
    """Wait until every leg is carried, each by another gateway: after an earlier drill one may still be held down."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        legs = api.get(f"/v1/objects/Router/{ROUTER}")["legs"]
        active = [str(leg["active"] or "") for leg in legs]
        if all(active) and len(set(active)) == len(active) > 1:
            return
        if time.monotonic() > deadline_s:
            raise Timeout(
                "the legs of the router are not on gateways of their own", subject=ROUTER, evidence=", ".join(active)
            )
        time.sleep(POLL_S)


def _documents(external: str, mode: str) -> list[dict[str, object]]:
    return [
        document("Router", ROUTER, {"external": {"network": external}, "gateways": {"mode": mode, **GATEWAYS}}),
        document("Network", NETWORK, {"cidr": CIDR, "router": ROUTER}),
        document("Port", PORT, {"network": NETWORK}),
        document("Port", SERVED_PORT, {"network": NETWORK}),
        document("FloatingIP", SERVED_PORT, {"network": external, "port": SERVED_PORT}),
    ]
