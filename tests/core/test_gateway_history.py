"""The history of gateways keeps why routers moved, whatever becomes of connections and controllers meanwhile."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from ovenbird.controller.gateway_history import FIRST, GatewayHistory
from ovenbird.controller.records import GatewayChangeRecord
from ovenbird.plan.failback import Cause

Told = tuple[str, str, str]
"""From, to, why."""


class Cluster:
    """All that the history asks: one router, who carries it, and what was meant."""

    def __init__(self, *changes: GatewayChangeRecord) -> None:
        self.carrier = "g1"
        self.meant: dict[str, Cause] = {}
        self.knows = True
        self.first = "g1"
        self.told: list[Told] = []
        self.leadership = SimpleNamespace(is_leader=True, epoch=1, on_change=lambda _wake: None)
        known = {(change.at_ms, change.router): change for change in changes}
        self.store = SimpleNamespace(synced=True, state=SimpleNamespace(gateway_changes=known))
        sight = SimpleNamespace(carriers=lambda: {"r1": self.carrier})
        parts: list[Any] = [self.store, self.leadership, sight, self, self]
        self.history = GatewayHistory(*parts, events=cast("Any", None), wall_clock=lambda: 1000.0)

    def moved_to(self, _router: str, gateway: str) -> Cause | None:
        return self.meant.pop(gateway, None)

    def first_gateway(self, _router: str) -> str:
        return self.first if self.knows else ""

    def between(self, _one: str, _other: str) -> None:
        return None

    def note(self, change: GatewayChangeRecord) -> None:
        self.told.append((change.before, change.after, change.cause))

    def moves(self, gateway: str, cause: Cause) -> None:
        """Move the router, as the acting controller does it."""
        self.first = self.carrier = gateway
        self.meant[gateway] = cause


def change(before: str, after: str) -> GatewayChangeRecord:
    return GatewayChangeRecord(at_ms=1, router="r1", before=before, after=after, cause=FIRST)


def test_a_change_is_told_once_and_with_its_cause_though_the_connection_is_lost_before_it_is_written() -> None:
    cluster = Cluster(change("", "g1"))
    cluster.history.look()
    cluster.moves("g2", Cause.UNFIT)
    cluster.history.look()
    cluster.store.synced = False
    cluster.history.look()
    cluster.store.synced = True
    cluster.history.look()
    assert cluster.told == [("g1", "g2", "unfit")]


def test_what_changes_while_the_connection_is_lost_is_told_afterwards() -> None:
    cluster = Cluster(change("", "g1"))
    cluster.history.look()
    cluster.store.synced = False
    cluster.moves("g2", Cause.DRAIN)
    cluster.history.look()
    assert not cluster.told
    cluster.store.synced = True
    cluster.history.look()
    assert cluster.told == [("g1", "g2", "drain")]


def test_a_controller_that_has_just_begun_judges_nothing_before_it_knows_the_order() -> None:
    cluster = Cluster(change("", "g1"))
    cluster.carrier = cluster.first = "g2"
    cluster.knows = False
    cluster.history.look()
    assert not cluster.told
    cluster.knows = True
    cluster.history.look()
    assert cluster.told == [("g1", "g2", "preempted")], "it came first, and no failover"


def test_the_next_controller_goes_on_from_what_was_written() -> None:
    cluster = Cluster(change("g2", "g1"))
    cluster.history.look()
    cluster.moves("g2", Cause.MOVE)
    cluster.history.look()
    cluster.leadership.epoch = 2
    cluster.store.state.gateway_changes[1000, "r1"] = change("g1", "g2")
    cluster.history.look()
    assert cluster.told == [("g1", "g2", "move")]
