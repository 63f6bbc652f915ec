"""What speaks against gateways' being able to fail over: no way to SB of their own, or pairs that had to be parted.

Findings of `ovenbird.plan.health`, kept apart for length. Each is (rule, subject, message, hint), and degrades.
"""

from __future__ import annotations

from collections.abc import Iterator

from ovenbird.plan.observation import Snapshot
from ovenbird.plan.separation import Why, read

Found = tuple[str, str, str, str]


def reach_findings(snapshot: Snapshot) -> Iterator[Found]:
    """Yield what is wrong with gateways' ways to SB and to each other."""
    for one in snapshot.autonomy:
        if one.works_alone is False:
            message = f"gateway {one.name} could not take over without the central tier: {one.why}"
            yield "gateway.needs_central", one.name, message, "see its logs of ovnsb_relay and of the agent"
        if one.path == "copy":
            message = f"ovn-controller of {one.name} reaches no SB member and works on a copy of its own"
            yield "gateway.on_copy", one.name, message, "it fails over, but learns nothing new; see its network"
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
