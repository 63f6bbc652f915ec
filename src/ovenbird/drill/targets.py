"""From a target's name to nodes, by what the cluster says of itself at that moment. Pure: a status in, names out.

`nb-leader`, `sb-leader`, `ovenbird-leader`, `northd-active`, `controller-leader`, `gateway-active`, `gateway-standby`
name one node; `carrier-of:LEG` the gateway of that leg of a router; `one-central` one that leads nothing, if there is
such a one; `one-compute` the last. `centrals`, `minority-centrals`, `gateways`, `computes`, `everything` name several.
A target that nobody can name now (no leader, not asked) is refused: a drill must never break something at random
instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from ovenbird.model.cluster import Host, Role
from ovenbird.model.errors import Refused

IT = "it"
CARRIER_OF = "carrier-of:"
OF_TARGET = "_target"
"""A parameter whose name ends so is a target, too: `peers_target="gateway-standby"` gives `peers` its nodes."""
SINGLE = (
    "nb-leader",
    "sb-leader",
    "ovenbird-leader",
    "northd-active",
    "controller-leader",
    "gateway-active",
    "gateway-standby",
    "one-central",
    "one-compute",
)
SEVERAL = ("centrals", "minority-centrals", "gateways", "computes", "everything")


def resolve(
    target: str, hosts: Sequence[Host], status: Mapping[str, Any], *, active_gateway: str, random: Random, it: str = ""
) -> tuple[str, ...]:
    """Return the nodes that a target names; raises `Refused` when it names none."""
    names = (
        _several(target, hosts, status) if target in SEVERAL else (_single(target, hosts, status, active_gateway, it),)
    )
    found = tuple(name for name in names if name)
    if not found:
        raise Refused(
            f"nobody is {target} now", code="no_target", subject=target, hint="`ovenbird status` shows who leads what"
        )
    return tuple(random.sample(found, len(found)))


def _single(target: str, hosts: Sequence[Host], status: Mapping[str, Any], active_gateway: str, it: str) -> str:
    leaders = _leaders(status)
    if target == IT:
        return it
    if target == "gateway-active":
        return active_gateway
    if target.startswith(CARRIER_OF):
        routers = status.get("routers") or ()
        return next((str(one["active"] or "") for one in routers if one["name"] == target.removeprefix(CARRIER_OF)), "")
    if target == "gateway-standby":
        return next((name for name in _of(hosts, Role.GATEWAY) if name != active_gateway), "")
    if target == "one-central":
        centrals = _of(hosts, Role.CENTRAL)
        return next((name for name in centrals if name not in leaders.values()), centrals[-1] if centrals else "")
    if target == "one-compute":
        return next(reversed(_of(hosts, Role.COMPUTE)), "")
    return leaders.get(target, "")


def _several(target: str, hosts: Sequence[Host], status: Mapping[str, Any]) -> tuple[str, ...]:
    if target == "everything":
        return tuple(host.name for host in hosts)
    if target == "minority-centrals":
        centrals = _of(hosts, Role.CENTRAL)
        leader = _leaders(status).get("nb-leader", "")
        # The leader among them: the minority whose loss costs most.
        ordered = sorted(centrals, key=lambda name: name != leader)
        return tuple(ordered[: (len(centrals) - 1) // 2])
    return _of(hosts, {"centrals": Role.CENTRAL, "gateways": Role.GATEWAY, "computes": Role.COMPUTE}[target])


def _leaders(status: Mapping[str, Any]) -> dict[str, str]:
    databases = status.get("databases") or {}
    found = {f"{name}-leader": view.get("leader") for name, view in databases.items()}
    found["northd-active"] = (status.get("northd") or {}).get("active")
    found["controller-leader"] = (status.get("controller") or {}).get("leader")
    return {key: str(value) for key, value in found.items() if value}


def _of(hosts: Sequence[Host], role: Role) -> tuple[str, ...]:
    return tuple(host.name for host in hosts if role in host.roles)
