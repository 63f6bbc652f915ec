"""What compiling needs besides the declared state, and the arithmetic of MTUs that follows from it.

Workloads' packets cross the underlay in Geneve. What does not fit is dropped in silence, so the smaller MTU is told by
DHCP, and routers answer "fragmentation needed" for what still comes too big (`options:gateway_mtu`, ovn-nb(5)).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ovenbird.model.addresses import PHYSICAL_MTU, geneve_mtu
from ovenbird.model.objects import ExternalNetwork, Network, Router
from ovenbird.plan.rows import Placement


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileContext:
    """Where routers' gateways are and what fits through the underlay."""

    placement: Placement = field(default_factory=Placement)
    underlay_mtu: int = 1500

    @property
    def tunnel_mtu(self) -> int:
        """Biggest IP packet that passes between chassis."""
        return geneve_mtu(self.underlay_mtu)


def is_bridged(router: Router | None) -> bool:
    """Whether hosts hand a router's gateway what leaves without a tunnel."""
    return router is not None and router.gateways.redirect == "bridged"


def is_tunnelled(spec: Network, router: Router | None) -> bool:
    """Whether anything of a network that is attached to this router may go through Geneve."""
    return spec.vlan is None or not (router is None or is_bridged(router))


def network_mtu(spec: Network, router: Router | None, context: CompileContext) -> int:
    """Return the MTU that workloads of the network are told."""
    if not is_tunnelled(spec, router):
        return spec.mtu or PHYSICAL_MTU
    return context.tunnel_mtu if spec.mtu is None else min(spec.mtu, context.tunnel_mtu)


def internal_gateway_mtu(spec: Network, router: Router | None, context: CompileContext) -> int | None:
    """Return `gateway_mtu` for a router's port in a network, or None when nothing bigger can arrive there.

    Only a network whose MTU was declared smaller than the others' needs it. The check costs a flow per packet, and
    northd applies it to both directions of the port.
    """
    if not is_tunnelled(spec, router):
        return spec.mtu
    mtu = network_mtu(spec, router, context)
    return mtu if mtu < context.tunnel_mtu else None


def external_gateway_mtu(spec: ExternalNetwork, router: Router | None, context: CompileContext) -> int | None:
    """Return `gateway_mtu` for a router's port in an external network, or None when both sides carry the same size.

    From outside, packets up to the external MTU come in and must pass a tunnel; from inside, packets up to the tunnel's
    MTU go out (jumbo underlay, or a small provider link). The smaller of both is what passes either way. Where there is
    no tunnel on the way, networks with an MTU of their own see to it at their own ports.
    """
    if is_bridged(router):
        return spec.mtu if spec.mtu != PHYSICAL_MTU else None
    return min(spec.mtu, context.tunnel_mtu) if spec.mtu != context.tunnel_mtu else None
