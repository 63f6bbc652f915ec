"""Many routers beside the stage's own, so that a gateway carries tens of them; some are measured from outside.

A router answers a ping to its own outside address only where it is carried, so no workload is needed to see it move.
This module must never leave a router behind: they are declared for one run, and taken away whatever becomes of it.
"""

from __future__ import annotations

import ipaddress
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ovenbird.drill.load import Stream
from ovenbird.drill.stage import OUTSIDE_NODE, PREFIX, Api, Stage
from ovenbird.model.errors import Refused

NAME = f"{PREFIX}many-"
SAMPLED = 8
"""Routers with a stream of packets: more would make the machine the thing that is measured."""
GATEWAYS = {"failback": "manual"}
AT_ONCE = 20
"""Routers declared at once: all hosts of a lab compute their flows on the same processors, and one that is busy for
too long loses its BFD sessions, which makes BFD slower for ten minutes."""
WAIT_S = 60.0


@contextmanager
def crowd(api: Api, stage: Stage, count: int) -> Iterator[tuple[Stream, ...]]:
    """Declare so many routers and yield the streams of some of them. Raises `Refused` without addresses for all."""
    if not count:
        yield ()
        return
    try:
        yield _declared(api, stage, count)
    finally:
        names = [str(one["name"]) for one in api.get("/v1/objects", query={"kind": "Router"})["objects"]]
        ours = [{"kind": "Router", "name": name} for name in names if name.startswith(NAME)]
        if ours:
            api.post("/v1/delete", {"objects": ours, "dry_run": False})


def carried(api: Api) -> Counter[str]:
    """Return how many routers each good gateway carries."""
    told = api.get("/v1/gateways")["gateways"]
    return Counter({str(one["name"]): len(one["carries"]) for one in told if one["good"] and not one["drained"]})


def _declared(api: Api, stage: Stage, count: int) -> tuple[Stream, ...]:
    addresses = _free(api, stage, count)
    routers: list[dict[str, Any]] = [
        {
            "kind": "Router",
            "name": f"{NAME}{number:03}",
            "spec": {"external": {"network": stage.external, "address": address}, "gateways": GATEWAYS},
        }
        for number, address in enumerate(addresses)
    ]
    for start in range(0, count, AT_ONCE):
        text = "---\n".join(json.dumps(router) + "\n" for router in routers[start : start + AT_ONCE])
        answer = api.post("/v1/apply", {"documents": [{"file": "drill", "text": text}], "dry_run": False})
        api.post("/v1/wait", {"revision": answer.get("revision"), "timeout_s": WAIT_S}, timeout_s=WAIT_S + 5)
    return tuple(
        Stream(name=f"router-{number:03}", node=OUTSIDE_NODE, workload="", target=addresses[number])
        for number in sampled(count)
    )


def sampled(count: int) -> tuple[int, ...]:
    """Return the routers that are measured: neighbours are on different gateways, in turn, and so must these be."""
    most = min(count, SAMPLED)
    furthest = (count - 1) // max(1, most - 1)
    # One more than a multiple of 12: two, three, four or six gateways are met each in turn.
    step = max(1, furthest - (furthest - 1) % 12)
    return tuple(range(0, step * most, step))


def _free(api: Api, stage: Stage, count: int) -> list[str]:
    """Return addresses of the external network that nobody has."""
    spec = api.get(f"/v1/objects/ExternalNetwork/{stage.external}")["spec"]
    taken = {str((one.get("assigned") or {}).get("address")) for one in api.get("/v1/objects")["objects"]}
    hosts = ipaddress.ip_network(str(spec["cidr"])).hosts()
    free = [address for each in hosts if (address := str(each)) not in taken and address != stage.outside]
    if len(free) < count:
        raise Refused(f"{stage.external} has no {count} free addresses", code="lab_too_small", subject=stage.external)
    return free[:count]
