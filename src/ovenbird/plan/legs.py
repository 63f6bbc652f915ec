"""A router's legs: what is placed on gateways. Most have one; active-active ones, and those with `further`, several.

Each leg has gateways in an order, a home, and one gateway that carries it. A leg is named like its router; the legs of
an active-active router are "ROUTER_1", "ROUTER_2", ..., those into further networks "ROUTER_NETWORK" (declared names
hold no underscore). In NB a leg is a distributed gateway port, which OVN moves by itself when BFD sees its gateway
dead, or a gateway router of its own, pinned to one chassis, which only the controller moves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ovenbird.model.addresses import derived_mac
from ovenbird.model.objects import Declared, Router
from ovenbird.plan import compile_names as names
from ovenbird.plan.rows import row_uuid

PINNED_MODES = frozenset({"gateway-router", "active-active"})
"""Modes whose legs are gateway routers."""
SHARED = "shared"
SEVERAL = "active-active"
DEFAULT_ACTIVE = 2
"""Legs of an active-active router when `gateways.active` is not given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One leg of a router."""

    name: str
    router: str
    number: int
    """1, 2, ..."""
    network: str
    """ExternalNetwork that it leads to."""
    address: str
    """In that network; "" before admission assigned one."""
    mac: str
    pinned: bool
    """Whether it is a gateway router."""

    @property
    def binding(self) -> str:
        """SB's logical port whose chassis is the gateway that carries the leg."""
        if self.pinned:
            return names.pinned_port(self.name, self.network)
        return names.chassisredirect_port(self.router, self.network)

    @property
    def group_binding(self) -> str:
        """SB's logical port that refers to the HA_Chassis_Group of the leg's gateways."""
        return f"cr-{names.watch_port(self.name)}" if self.pinned else self.binding


def is_pinned(spec: Router) -> bool:
    """Whether a router's legs are gateway routers."""
    return spec.external is not None and spec.gateways.mode in PINNED_MODES


def legs_wanted(spec: Router) -> int:
    """Return how many legs, and so how many external addresses, a router has."""
    if spec.external is None:
        return 0
    return (spec.gateways.active or DEFAULT_ACTIVE) if spec.gateways.mode == SEVERAL else len(spec.externals)


def leg_networks(spec: Router) -> tuple[str, ...]:
    """Return the ExternalNetwork of each of a router's legs."""
    if spec.gateways.mode != SEVERAL:
        return tuple(external.network for external in spec.externals)
    return (spec.external.network,) * legs_wanted(spec) if spec.external else ()


def leg_names(router: str, spec: Router) -> tuple[str, ...]:
    """Return the names of a router's legs."""
    wanted = legs_wanted(spec)
    if spec.gateways.mode != SEVERAL:
        return (router,)[:wanted] + tuple(f"{router}_{each.network}" for each in spec.further)
    return tuple(f"{router}_{number}" for number in range(1, wanted + 1))


def router_of(leg: str) -> str:
    """Return the name of a leg's router."""
    return leg.partition("_")[0]


def legs_of(declared: Declared) -> Iterator[Leg]:
    """Yield the legs of a declared router, in their order."""
    spec, assigned = declared.spec, declared.assigned
    if not isinstance(spec, Router) or spec.external is None:
        return
    addresses = (assigned.address, *assigned.others)
    networks = leg_networks(spec)
    for at, name in enumerate(leg_names(declared.name, spec)):
        address = addresses[at] if at < len(addresses) else ""
        own = assigned.mac if at == 0 else ""
        yield Leg(
            name=name,
            router=declared.name,
            number=at + 1,
            network=networks[at],
            address=address,
            mac=own or derived_mac("router", name, address),
            pinned=is_pinned(spec),
        )


def inward_leg(router: Declared, port: str) -> Leg | None:
    """Return the leg that a port's floating IP is on; the same as long as the router has as many legs."""
    legs = tuple(legs_of(router))
    return legs[int(row_uuid("Leg", port)[:8], 16) % len(legs)] if legs else None
