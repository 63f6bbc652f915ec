"""A plan made ahead is the plan that would be made afterwards, or none at all."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tests.controller_bench import CLUSTER, documents, network, port
from tests.raft_cluster import NB_SCHEMA

from ovenbird.controller import proposals
from ovenbird.controller.foresight import LEAST_OBJECTS, Ahead, Foresight
from ovenbird.controller.state import DeclaredState, Prospect
from ovenbird.controller.worklist import Worklist
from ovenbird.model.objects import Declared, Key
from ovenbird.ovsdb.schema import parse_schema
from ovenbird.plan.compile import CompileContext, compile_object
from ovenbird.plan.diff import diff
from ovenbird.plan.nb_index import NbIndex
from ovenbird.plan.rows import OWNER

SCHEMA = parse_schema(json.loads(NB_SCHEMA.read_text()))
CONTEXT = CompileContext()


class Site:
    """A declared network, a change of it on its way, and what the change makes of the worklist."""

    def __init__(self, present: int) -> None:
        self.state, self.index, self.work = DeclaredState(), NbIndex(), Worklist()
        if present:
            self.commit(self.propose("old", present))
            self.work.clear()
        self.foresight = Foresight()

    def propose(self, name: str, ports: int) -> Prospect:
        texts = [network(name, f"10.{len(name)}.0.0/16"), *(port(f"{name}-{n}", name) for n in range(ports))]
        prospect = proposals.apply(self.state, CLUSTER, documents(*texts), dry_run=False).prospect
        assert prospect is not None
        return prospect

    def commit(self, prospect: Prospect) -> None:
        for key, declared in prospect.objects.items():
            self.work.change({key: self.state.inventory.get(key)})
            assert declared is not None
            self.state.inventory.put(declared)

    def look_ahead(self, prospect: Prospect) -> None:
        self.foresight.look_ahead(prospect, self.state.inventory, self.index, CONTEXT, SCHEMA)


@pytest.mark.parametrize("present", [0, 100, 900])
async def test_it_is_the_plan_that_would_be_made_afterwards(present: int) -> None:
    site = Site(present)
    prospect = site.propose("blue", LEAST_OBJECTS)
    site.look_ahead(prospect)
    site.commit(prospect)
    inventory = site.state.inventory
    owners = site.work.take(inventory).owners
    foreseen = await site.foresight.recall(owners, inventory, site.index, CONTEXT)
    assert foreseen is not None
    assert foreseen.plan == diff(owners, {key: compile_object(key, inventory, CONTEXT) for key in owners}, site.index)
    assert len(foreseen.steps.texts) == len(foreseen.plan.steps) > LEAST_OBJECTS
    assert await site.foresight.recall(owners, inventory, site.index, CONTEXT) is None, "once"


def another_object(site: Site) -> None:
    (first,) = site.state.inventory.of_kind("Network").values()
    site.state.inventory.put(Declared(kind="Network", name="green", spec=first.spec))


def another_row(site: Site) -> None:
    site.index.apply("Logical_Switch", "5", {"name": "x", "external_ids": {OWNER: "Network/x"}})


def other_content(site: Site) -> None:
    old = next(iter(site.state.inventory.of_kind("Port").values()))
    site.state.inventory.put(Declared(kind="Port", name=old.name, spec=old.spec, revision=7))


@pytest.mark.parametrize("change", [another_object, another_row, other_content])
async def test_it_is_of_no_use_once_anything_else_has_changed(change: Callable[[Site], None]) -> None:
    site = Site(0)
    prospect = site.propose("blue", LEAST_OBJECTS)
    site.look_ahead(prospect)
    site.commit(prospect)
    owners = site.work.take(site.state.inventory).owners
    change(site)
    assert await site.foresight.recall(owners, site.state.inventory, site.index, CONTEXT) is None


async def test_it_is_of_no_use_with_other_gateways_or_before_the_commit_is_seen() -> None:
    site = Site(0)
    prospect = site.propose("blue", LEAST_OBJECTS)
    owners = frozenset(prospect.objects)
    site.look_ahead(prospect)
    assert await site.foresight.recall(owners, site.state.inventory, site.index, CONTEXT) is None
    site.look_ahead(prospect)
    site.commit(prospect)
    other = CompileContext(underlay_mtu=9000)
    assert await site.foresight.recall(owners, site.state.inventory, site.index, other) is None


def go_ahead(site: Site) -> Ahead | None:
    return site.foresight.go_ahead(site.state.inventory, site.index, CONTEXT)


async def test_it_may_be_carried_out_as_soon_as_its_change_is_committed() -> None:
    site = Site(0)
    prospect = site.propose("blue", LEAST_OBJECTS)
    site.look_ahead(prospect)
    assert not await site.foresight.confirmed()
    assert go_ahead(site) is None, "not committed yet"
    site.foresight.confirm(prospect)
    assert await site.foresight.confirmed()
    ahead = go_ahead(site)
    assert ahead is not None
    assert ahead.revision == prospect.revision == 1
    assert go_ahead(site) is None, "once"
    owners = frozenset(prospect.objects)
    assert not ahead.covers(owners, site.state.inventory, CONTEXT), "the state does not show the change yet"
    site.commit(prospect)
    owners = site.work.take(site.state.inventory).owners
    assert ahead.covers(owners, site.state.inventory, CONTEXT)
    assert not ahead.covers(owners, site.state.inventory, CompileContext(underlay_mtu=9000))
    assert not ahead.covers(owners | {Key("Port", "other")}, site.state.inventory, CONTEXT)
    another_object(site)
    assert not ahead.covers(owners, site.state.inventory, CONTEXT)


@pytest.mark.parametrize("early", [another_row, lambda site: site.commit(site.propose("red", 1))])
async def test_it_is_not_carried_out_once_anything_has_changed(early: Callable[[Site], None]) -> None:
    site = Site(1)
    prospect = site.propose("blue", LEAST_OBJECTS)
    site.look_ahead(prospect)
    site.foresight.confirm(prospect)
    assert await site.foresight.confirmed()
    early(site)
    assert go_ahead(site) is None


async def test_the_confirmation_of_another_change_counts_for_nothing() -> None:
    site = Site(0)
    site.look_ahead(site.propose("blue", LEAST_OBJECTS))
    site.foresight.confirm(site.propose("green", LEAST_OBJECTS))
    assert not await site.foresight.confirmed()
