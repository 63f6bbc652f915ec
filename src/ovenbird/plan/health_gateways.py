"""What speaks against gateways: bad or held down, no way to SB of their own, pairs that had to be parted.

Findings of `ovenbird.plan.health`, kept apart for length. Each is (rule, subject, message, hint), and degrades.
"""

from __future__ import annotations

from collections.abc import Iterator

from ovenbird.plan.observation import Snapshot
from ovenbird.plan.separation import Why, read

Found = tuple[str, str, str, str]


def gateway_findings(snapshot: Snapshot) -> Iterator[Found]:
    """Yield what is wrong with gateways."""
    yield from _fitness(snapshot)
    yield from _autonomy(snapshot)
    yield from _apart(snapshot)
    yield from _not_learnt(snapshot)


def _fitness(snapshot: Snapshot) -> Iterator[Found]:
    for gateway in snapshot.fitness:
        place = f"{gateway.name} on physical network {gateway.physnet}"
        hint = "its routers are carried by others while others are better" if gateway.unfit else ""
        for what in gateway.bad:
            yield "gateway.bad", gateway.name, f"gateway {place}: {what}", hint
        if gateway.unfit and not gateway.bad:
            message = f"gateway {place} is good again and waits for its hold-down; it was unfit: {gateway.unfit}"
            yield "gateway.held_down", gateway.name, message, "it takes routers again by itself"


def _autonomy(snapshot: Snapshot) -> Iterator[Found]:
    for one in snapshot.autonomy:
        if one.works_alone is False:
            message = f"gateway {one.name} could not take over without the central tier: {one.why}"
            yield "gateway.needs_central", one.name, message, "see its logs of ovnsb_relay and of the agent"
        if one.path == "copy":
            message = f"ovn-controller of {one.name} reaches no SB member and works on a copy of its own"
            yield "gateway.on_copy", one.name, message, "it fails over, but learns nothing new; see its network"


def _apart(snapshot: Snapshot) -> Iterator[Found]:
    for pair, known in sorted(read(snapshot.apart).items(), key=lambda item: sorted(item[0])):
        first, second = sorted(pair)
        subject = f"{first}-{second}"
        if known.why is Why.PARTITION:
            message = f"gateways {first} and {second} don't see each other: each router keeps one of them"
            hint = "check the network between them; they come together again by themselves"
        else:
            message = f"gateway {known.lost} is dead, and {first if known.lost == second else second} is alone"
            hint = f"{known.lost} is taken back once it is seen again"
        yield "gateway.apart", subject, message, hint


def _not_learnt(snapshot: Snapshot) -> Iterator[Found]:
    for one in snapshot.not_learnt:
        message = (
            f"the outside has not learnt that gateway {one.gateway} carries {one.address} ({one.mac}): "
            f"{one.next_hop} answers others there, not this address"
        )
        hint = f"look where the switches before {one.gateway} have {one.mac}; it is announced again and again"
        yield "gateway.not_learnt", one.gateway, message, hint
