"""Properties of dirty, compile and diff together, over random networks and random damage to NB.

The objects are random, with dangling references, unassigned addresses and clashing names: compile and diff must cope
with whatever they are given.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.core.nb_memory import NbMemory
from tests.core.samples import declared

from ovenbird.model.objects import (
    KINDS,
    Assigned,
    BalancedPort,
    Declared,
    ExternalNetwork,
    FloatingIP,
    Key,
    LoadBalancer,
    Network,
    Port,
    Route,
    Router,
    RouterExternal,
    RouterGateways,
    Target,
)
from ovenbird.plan.compile import CompileContext, compile_object
from ovenbird.plan.diff import audit, diff
from ovenbird.plan.dirty import dirty, dirty_by_placement
from ovenbird.plan.inventory import Inventory
from ovenbird.plan.nb_view import TABLES, ActualRow
from ovenbird.plan.rows import Delete, Insert, Mutate, Placement, Plan, Update

NAMES = ["a", "b", "c"]
name = st.sampled_from(NAMES)
maybe = st.sampled_from([None, *NAMES])


def assigned(prefix: str) -> st.SearchStrategy[Assigned]:
    number = st.integers(10, 13)
    return st.builds(
        lambda given, mac: Assigned(
            address=f"{prefix}{given}" if mac else "", mac=f"0a:00:00:00:00:{mac:02}" if mac else ""
        ),
        number,
        st.integers(0, 3),
    )


def kind(
    spec: st.SearchStrategy[Any], prefix: str, names: st.SearchStrategy[str] = name
) -> st.SearchStrategy[Declared]:
    return st.builds(
        lambda spec, name, assigned: Declared(kind=type(spec).__name__, name=name, spec=spec, assigned=assigned),
        spec,
        name,
        assigned(prefix),
    )


externals = st.builds(
    ExternalNetwork,
    physnet=name,
    vlan=st.sampled_from([None, 7]),
    cidr=st.sampled_from(["172.16.0.0/24", "172.16.0.0/16"]),
    gateway=st.sampled_from([None, "172.16.0.254"]),
    mtu=st.sampled_from([1400, 1500]),
)
networks = st.builds(
    Network,
    cidr=st.sampled_from(["10.0.0.0/24", "10.1.0.0/24"]),
    router=maybe,
    dhcp=st.booleans(),
    mtu=st.sampled_from([None, 1400]),
)
routers = st.builds(
    Router,
    external=st.none() | st.builds(RouterExternal, network=name, snat=st.booleans()),
    gateways=st.builds(
        RouterGateways, mode=st.sampled_from(["active-standby", "shared", "gateway-router", "active-active"])
    ),
    routes=st.sampled_from([(), (Route(to="0.0.0.0/0", via="10.0.0.9"),), (Route(to="10.9.0.0/16", via="10.0.0.9"),)]),
)
ports = st.builds(Port, network=name, port_security=st.booleans())
floating_ips = st.builds(FloatingIP, network=name, port=name, distributed=st.booleans())
listeners = st.builds(
    BalancedPort, port=st.sampled_from([80, 443]), targets=st.lists(st.builds(Target, port=name), min_size=1).map(tuple)
)
load_balancers = st.builds(
    LoadBalancer,
    network=name,
    protocol=st.sampled_from(["tcp", "udp"]),
    ports=st.lists(listeners, min_size=1, max_size=2).map(tuple),
)
objects = st.one_of(
    kind(load_balancers, "172.16.0."),
    kind(externals, "172.16.0."),
    kind(networks, "10.0.0."),
    kind(routers, "172.16.0."),
    kind(ports, "10.0.0."),
    kind(floating_ips, "172.16.0."),
)
inventories = st.lists(objects, max_size=12, unique_by=lambda item: item.key).map(Inventory)
placements = st.dictionaries(
    name | name.map(lambda router: f"{router}_1") | name.map(lambda router: f"{router}_2"),
    st.sampled_from([(("gw1", 100),), (("gw1", 100), ("gw2", 90)), (("gw2", 100), ("gw1", 90))]),
).map(lambda routers: Placement(routers=routers))
KEYS = [Key(kind, name) for kind in KINDS for name in NAMES]


def desired_of(inventory: Inventory, context: CompileContext) -> dict[Key, Any]:
    return {key: compile_object(key, inventory, context) for key in KEYS}


def marked_rows(nb: NbMemory) -> dict[str, dict[str, Any]]:
    """Return every row that says whose it is."""
    return {uuid: row for table in TABLES for uuid, row in nb.rows[table].items() if ActualRow(table, uuid, row).owner}


def foreign_rows(nb: NbMemory, wanted: Collection[str]) -> dict[str, Any]:
    """Return every row that is not ours. Its references to rows of ours are not its own: the server drops weak ones."""
    ours = marked_rows(nb).keys() | set(wanted)
    return {
        uuid: {
            column: value - ours if isinstance(value, frozenset) else value
            for column, value in row.items()
            if column != "dhcpv4_options"
        }
        for table in TABLES
        for uuid, row in nb.rows[table].items()
        if uuid not in ours
    }


def assert_converges(nb: NbMemory, inventory: Inventory, context: CompileContext) -> None:
    """Audit, execute, and see that all is as it should be, or said not to be, and nothing foreign was touched."""
    wanted = {row.uuid: row for rows in desired_of(inventory, context).values() for row in rows}
    foreign = foreign_rows(nb, wanted)
    plan = audit(inventory, context, nb.index)
    assert not {step.uuid for step in plan.steps if not isinstance(step, Mutate)} & foreign.keys()
    nb.execute(plan)
    assert foreign_rows(nb, wanted) == foreign
    again = audit(inventory, context, nb.index)
    assert again.steps == ()
    assert again.conflicts == plan.conflicts
    if not plan.conflicts:
        marked = marked_rows(nb)
        assert marked.keys() == wanted.keys()
        for uuid, row in wanted.items():
            columns = {name: value for name, value in row.columns.items() if name != "external_ids"}
            assert columns.items() <= marked[uuid].items()
            for column, members in row.members.items():
                assert {uuid for uuid in marked[row.uuid][column] if uuid in marked} == members
            held = [parent for parent in nb.index.holders(uuid)]
            assert held == ([(row.parent.table, row.parent.uuid, row.parent.column)] if row.parent else [])


BASE = (
    declared("a", ExternalNetwork(physnet="a", cidr="172.16.0.0/24", gateway="172.16.0.254")),
    declared("a", Router(external=RouterExternal(network="a")), address="172.16.0.10", mac="0a:00:00:00:00:01"),
    declared("b", Router(external=RouterExternal(network="a")), address="172.16.0.11", mac="0a:00:00:00:00:02"),
    declared("a", Network(cidr="10.0.0.0/24", router="a")),
    declared("a", Port(network="a"), address="10.0.0.10", mac="0a:00:00:00:00:01"),
    declared("a", FloatingIP(network="a", port="a"), address="172.16.0.12", mac="0a:00:00:00:00:03"),
    declared(
        "a",
        LoadBalancer(network="a", ports=(BalancedPort(port=80, targets=(Target(port="a"),)),)),
        address="172.16.0.13",
    ),
)
"""A network in which every object has users, so that a forgotten dependency shows."""


@st.composite
def steps_from_base(draw: st.DrawFn) -> Declared | Key:
    """One object of BASE gone, or with one thing about it changed."""
    item = draw(st.sampled_from(BASE))
    if draw(st.integers(0, 3)) == 0:
        return item.key
    if item.assigned.address and draw(st.booleans()):
        address = draw(st.sampled_from(["", item.assigned.address[:-1] + "9"]))
        return replace(item, assigned=replace(item.assigned, address=address))
    other = draw(objects.filter(lambda other: other.kind == item.kind))
    field = draw(st.sampled_from(sorted(type(item.spec).model_fields)))
    return replace(item, spec=item.spec.model_copy(update={field: getattr(other.spec, field)}))


@given(
    st.lists(steps_from_base(), max_size=1), st.lists(steps_from_base(), min_size=1, max_size=2), placements, placements
)
def test_diff_of_the_dirty_equals_diff_of_everything(first, changes, before, after):
    was, now = CompileContext(placement=before), CompileContext(placement=after)
    old, new = Inventory(BASE), Inventory(BASE)
    for view, steps in ((old, first), (new, first), (new, changes)):
        for step in steps:
            if isinstance(step, Key):
                view.remove(step)
            else:
                view.put(step)
    changed = {change if isinstance(change, Key) else change.key for change in changes}
    old_rows, new_rows = desired_of(old, was), desired_of(new, now)
    found = dirty(changed, old, new) | dirty_by_placement(before, after)
    assert {key for key in KEYS if old_rows[key] != new_rows[key]} <= found
    nb = NbMemory()
    nb.execute(diff(KEYS, old_rows, nb.index))
    some = diff(found, {key: compile_object(key, new, now) for key in found}, nb.index)
    full = audit(new, now, nb.index)
    if not full.conflicts and not audit(old, was, nb.index).conflicts:
        assert some == full


@given(inventories, inventories, placements)
def test_from_any_network_to_any_other(old, new, placement):
    context = CompileContext(placement=placement)
    nb = NbMemory()
    assert_converges(nb, old, context)
    assert_converges(nb, new, context)


@given(inventories, inventories, placements, st.data())
def test_whatever_people_do_to_nb_it_is_mended_and_theirs_is_left(old, new, placement, data):
    context = CompileContext(placement=placement)
    nb = NbMemory()
    nb.execute(audit(old, context, nb.index))
    for number in range(data.draw(st.integers(1, 4))):
        damage(nb, number, data)
    assert_converges(nb, new, context)


def damage(nb: NbMemory, number: int, data: Any) -> None:
    """Do one thing that a person with ovn-nbctl might do, if the server accepts it."""
    rows = [ActualRow(table, uuid, row) for table in TABLES for uuid, row in sorted(nb.rows[table].items())]
    parents = [row for row in rows if row.table in ("Logical_Switch", "Logical_Router")]
    fresh = f"00000000-0000-0000-0000-{number:012}"
    table = data.draw(st.sampled_from(["Logical_Switch", "HA_Chassis_Group", "Load_Balancer_Group"]))
    acts = [st.builds(lambda name: [Insert(table, fresh, {"name": name})], name)]
    if parents:
        acts += [
            st.builds(act, st.sampled_from(parents), st.just(fresh), port_names) for act in (add_port, empty, drop)
        ]
        acts += [
            st.builds(balance, st.sampled_from(parents), st.just(fresh)),
            st.builds(unbalance, st.sampled_from(parents)),
        ]
        acts += [st.builds(hang, st.sampled_from(parents), st.sampled_from(parents))]
    rows = [row for row in rows if "external_ids" in row.columns]
    if rows:
        acts += [st.builds(edit, st.sampled_from(rows)), st.builds(unmark, st.sampled_from(rows))]
    nb.attempt(Plan(tuple(data.draw(st.one_of(acts)))))


port_names = st.sampled_from([*NAMES, "a_b", "b_to_a", "mine"])


def add_port(parent: ActualRow, fresh: str, label: str) -> list[Any]:
    port = Insert(f"{parent.table}_Port", fresh, {"name": label})
    return [port, Mutate(parent.table, parent.uuid, "ports", insert=frozenset({fresh}))]


def empty(parent: ActualRow, _fresh: str, _label: str) -> list[Any]:
    return [Mutate(parent.table, parent.uuid, "ports", delete=parent.columns["ports"])]


def drop(parent: ActualRow, _fresh: str, _label: str) -> list[Any]:
    return [Delete(parent.table, parent.uuid)]


def hang(parent: ActualRow, other: ActualRow) -> list[Any]:
    same = parent.table == other.table
    return [Mutate(parent.table, parent.uuid, "ports", insert=other.columns["ports"])] if same else []


def balance(parent: ActualRow, fresh: str) -> list[Any]:
    """Put a load balancer of one's own beside ours, in a group of one's own and, where there is one, in ours."""
    balancer, group = Insert("Load_Balancer", fresh, {"name": "theirs"}), fresh.replace("0000-", "1111-", 1)
    return [
        balancer,
        Insert("Load_Balancer_Group", group, {"name": fresh, "load_balancer": frozenset({fresh})}),
        Mutate(parent.table, parent.uuid, "load_balancer_group", insert=frozenset({group})),
        *(
            Mutate("Load_Balancer_Group", ours, "load_balancer", insert=frozenset({fresh}))
            for ours in parent.columns["load_balancer_group"]
        ),
    ]


def unbalance(parent: ActualRow) -> list[Any]:
    column = "load_balancer_group"
    return [Mutate(parent.table, parent.uuid, column, delete=parent.columns[column])]


def edit(row: ActualRow) -> list[Any]:
    note = Update(row.table, row.uuid, {"external_ids": {**row.columns["external_ids"], "note": "x"}})
    return [note, Update(row.table, row.uuid, {"options": {"chassis": "gw9"}})] if "options" in row.columns else [note]


def unmark(row: ActualRow) -> list[Any]:
    return [Update(row.table, row.uuid, {"external_ids": {}})]
