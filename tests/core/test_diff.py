"""Diff: only differences, each in the right place, nothing foreign touched, nothing that the server would refuse."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.core.nb_memory import NbMemory
from tests.core.samples import BLUE, CONTEXT, FIP1, PUBLIC, R1, SAMPLE, VM1, VM2, WEB, declared

from ovenbird.model.objects import Declared, Key, Network, Port, Router
from ovenbird.plan.compile import compile_object
from ovenbird.plan.compile_names import gateway_group, load_balancer_group, logical_router, network_switch
from ovenbird.plan.diff import audit, diff
from ovenbird.plan.inventory import Inventory
from ovenbird.plan.nb_view import TABLES, Holder
from ovenbird.plan.rows import ConflictKind, Delete, Insert, Mutate, Placement, Plan, Update, row_uuid

FOREIGN = "00000000-0000-0000-0000-00000000000{}"


def plan_for(nb: NbMemory, *objects: Declared, owners: list[Key] | None = None, context=CONTEXT) -> Plan:
    inventory = Inventory(objects)
    keys = owners if owners is not None else [item.key for item in objects]
    return diff(keys, {key: compile_object(key, inventory, context) for key in keys}, nb.index)


@pytest.fixture
def nb() -> NbMemory:
    """An NB that holds the sample."""
    memory = NbMemory()
    plan = plan_for(memory, *SAMPLE)
    assert not plan.conflicts
    memory.execute(plan)
    return memory


def vm1_uuid() -> str:
    return row_uuid("Logical_Switch_Port", "vm1")


def with_spec(item: Declared, **changes) -> Declared:
    return replace(item, spec=item.spec.model_copy(update=changes))


def test_from_empty_only_inserts_with_children_folded_in(nb):
    plan = plan_for(NbMemory(), *SAMPLE)
    assert {type(step) for step in plan.steps} == {Insert}
    switch = next(step for step in plan.steps if step.uuid == network_switch("blue"))
    assert vm1_uuid() in switch.columns["ports"]
    assert len(switch.columns["ports"]) == 3
    assert audit(Inventory(SAMPLE), CONTEXT, nb.index) == Plan()


def test_nothing_changed_is_an_empty_plan_and_any_order_gives_the_same_plan(nb):
    assert not plan_for(nb, *SAMPLE)
    assert plan_for(NbMemory(), *SAMPLE) == plan_for(NbMemory(), *reversed(SAMPLE))


def test_a_changed_port_is_one_update_of_the_changed_columns(nb):
    changed = with_spec(VM1, port_security=False)
    plan = plan_for(nb, *SAMPLE[:3], changed, owners=[VM1.key])
    assert plan.steps == (
        Update("Logical_Switch_Port", vm1_uuid(), {"port_security": frozenset()}, "Port/vm1: port_security"),
    )


def test_a_new_port_is_an_insert_and_its_parents_set(nb):
    port = declared("vm3", Port(network="blue"), address="192.168.1.13", mac="0a:00:00:00:00:13")
    plan = plan_for(nb, *SAMPLE, port, owners=[port.key])
    insert, mutate = plan.steps
    assert isinstance(insert, Insert)
    assert isinstance(mutate, Mutate)
    assert (mutate.uuid, mutate.column, mutate.insert, mutate.delete) == (
        network_switch("blue"),
        "ports",
        {insert.uuid},
        frozenset(),
    )


def test_removal_is_by_the_parents_set_and_by_delete_for_roots(nb):
    gone = plan_for(nb, owners=[VM1.key, FIP1.key])
    assert {(type(step), step.table) for step in gone.steps} == {
        (Mutate, "Logical_Switch"),
        (Mutate, "Logical_Router"),
    }
    nb.execute(gone)
    assert nb.index.row("Logical_Switch_Port", vm1_uuid()) is None
    everything = plan_for(nb, owners=[item.key for item in SAMPLE])
    assert {type(step) for step in everything.steps} == {Delete, Update}, "the port lets go of its group first"
    nb.execute(everything)
    assert not any(nb.rows.values())


def test_a_port_moves_to_another_network(nb):
    green = declared("green", Network(cidr="10.0.0.0/24"))
    moved = with_spec(VM1, network="green")
    nb.execute(plan_for(nb, *SAMPLE[:3], green, moved, owners=[green.key, VM1.key]))
    assert vm1_uuid() in nb.rows["Logical_Switch"][network_switch("green")]["ports"]
    assert vm1_uuid() not in nb.rows["Logical_Switch"][network_switch("blue")]["ports"]


def test_a_child_that_someone_took_out_is_made_again(nb):
    out = Mutate("Logical_Router", logical_router("r1"), "nat", delete=frozenset({row_uuid("NAT", "Network/blue")}))
    touched = nb.execute(Plan((out,)))
    assert touched >= {BLUE.key}
    repair = plan_for(nb, *SAMPLE, owners=sorted(touched))
    assert [type(step) for step in repair.steps] == [Insert, Mutate]
    nb.execute(repair)
    assert not plan_for(nb, *SAMPLE)


def test_a_lost_mark_and_foreign_keys_beside_it(nb):
    keys = {"someone": "else"}
    nb.execute(Plan((Update("Logical_Switch", network_switch("blue"), {"external_ids": keys}),)))
    plan = plan_for(nb, *SAMPLE, owners=[BLUE.key])
    assert [step.columns for step in plan.steps] == [
        {"external_ids": {"someone": "else", "ovenbird-owner": "Network/blue"}}
    ]
    nb.execute(plan)
    assert not plan_for(nb, *SAMPLE)


def test_rows_of_ours_with_other_uuids_are_replaced(nb):
    """`ovsdb-client restore` gives every row a new UUID."""
    mark = {"external_ids": {"ovenbird-owner": "Network/blue"}}
    copy = NbMemory()
    port = Insert(
        "Logical_Switch_Port", FOREIGN.format(1), {"name": "vm1", "external_ids": {"ovenbird-owner": "Port/vm1"}}
    )
    switch = Insert("Logical_Switch", FOREIGN.format(2), {"name": "blue", "ports": frozenset({port.uuid}), **mark})
    copy.execute(Plan((switch, port)))
    plan = audit(Inventory(SAMPLE), CONTEXT, copy.index)
    assert not plan.conflicts
    copy.execute(plan)
    assert copy.rows == nb.rows


def test_audit_removes_what_no_declared_object_wants(nb):
    nb.execute(audit(Inventory([PUBLIC, R1]), CONTEXT, nb.index))
    assert set(nb.index.owners()) == {PUBLIC.key, R1.key}
    assert audit(Inventory([PUBLIC, R1]), CONTEXT, nb.index) == Plan()


def test_gateways_that_go_take_the_leg_with_them(nb):
    nowhere = replace(CONTEXT, placement=Placement())
    nb.execute(plan_for(nb, *SAMPLE, owners=[R1.key], context=nowhere))
    assert not nb.rows["HA_Chassis_Group"]
    assert not nb.rows["HA_Chassis"]
    assert [row["name"] for row in nb.rows["Logical_Router_Port"].values()] == ["r1_blue"]


def test_foreign_children_stay_and_hold_their_parent(nb):
    switch, foreign = network_switch("blue"), FOREIGN.format(1)
    nb.execute(
        Plan(
            (
                Insert("Logical_Switch_Port", foreign, {"name": "someones"}),
                Mutate("Logical_Switch", switch, "ports", insert=frozenset({foreign})),
            )
        )
    )
    assert not plan_for(nb, *SAMPLE)
    plan = plan_for(nb, owners=[item.key for item in SAMPLE])
    assert [(conflict.kind, conflict.owner) for conflict in plan.conflicts] == [
        (ConflictKind.FOREIGN_CHILDREN, BLUE.key)
    ]
    assert foreign in plan.conflicts[0].detail
    nb.execute(plan)
    assert {uuid for table in TABLES for uuid in nb.rows[table]} == {switch, foreign}


@pytest.mark.parametrize("table", ["Logical_Switch_Port", "Logical_Router_Port"])
def test_a_foreign_row_with_our_name_is_a_conflict_and_the_rest_goes_on(table):
    nb = NbMemory()
    root = "Logical_Switch" if table == "Logical_Switch_Port" else "Logical_Router"
    port = Insert(table, FOREIGN.format(1), {"name": "vm1"})
    nb.execute(Plan((Insert(root, FOREIGN.format(2), {"ports": frozenset({port.uuid})}), port)))
    plan = plan_for(nb, *SAMPLE)
    assert [(conflict.kind, conflict.owner) for conflict in plan.conflicts] == [(ConflictKind.NAME_TAKEN, VM1.key)]
    assert FOREIGN.format(1) in plan.conflicts[0].detail
    nb.execute(plan)
    assert {row["name"] for row in nb.rows["Logical_Switch_Port"].values()} >= {"vm2", "public_localnet"}


def test_a_foreign_group_with_our_name_costs_that_leg_only():
    nb = NbMemory()
    nb.insert("HA_Chassis_Group", FOREIGN.format(1), name="r1")
    plan = plan_for(nb, *SAMPLE)
    assert {conflict.kind for conflict in plan.conflicts} == {ConflictKind.NAME_TAKEN, ConflictKind.MISSING_ROW}
    assert {conflict.owner for conflict in plan.conflicts} == {R1.key}
    nb.execute(plan)
    assert [row["name"] for row in nb.rows["Logical_Router_Port"].values()] == ["r1_blue"]


def test_two_objects_that_want_one_name():
    """A Network and an ExternalNetwork of one name on one router."""
    twin = declared("public", Network(cidr="10.7.0.0/24", router="r1"))
    nb = NbMemory()
    plan = plan_for(nb, *SAMPLE, twin)
    assert {conflict.kind for conflict in plan.conflicts} == {ConflictKind.NAME_TAKEN}
    nb.execute(plan)


def test_a_missing_parent_is_a_conflict():
    plan = plan_for(NbMemory(), *SAMPLE, owners=[FIP1.key])
    assert plan.steps == ()
    assert [conflict.kind for conflict in plan.conflicts] == [ConflictKind.MISSING_ROW]


def test_our_row_in_a_foreign_set(nb):
    nb.insert("Logical_Switch", FOREIGN.format(1), ports=frozenset({vm1_uuid()}))
    plan = plan_for(nb, *SAMPLE)
    assert plan.steps == ()
    assert [conflict.kind for conflict in plan.conflicts] == [ConflictKind.FOREIGN_HOLDER]
    gone = plan_for(nb, owners=[VM1.key])
    assert [conflict.kind for conflict in gone.conflicts] == [ConflictKind.FOREIGN_HOLDER]


def test_our_group_used_by_a_foreign_port_stays(nb):
    port = Insert("Logical_Router_Port", FOREIGN.format(1), {"name": "x", "ha_chassis_group": gateway_group("r1")})
    nb.execute(Plan((Insert("Logical_Router", FOREIGN.format(2), {"ports": frozenset({port.uuid})}), port)))
    plan = plan_for(nb, owners=[item.key for item in SAMPLE])
    assert [conflict.kind for conflict in plan.conflicts] == [ConflictKind.FOREIGN_HOLDER]
    nb.execute(plan)
    assert gateway_group("r1") in nb.rows["HA_Chassis_Group"]


def test_a_row_renamed_by_hand_gets_its_name_back(nb):
    nb.execute(Plan((Update("Logical_Switch_Port", vm1_uuid(), {"name": "mine"}),)))
    plan = plan_for(nb, *SAMPLE, owners=[VM1.key])
    assert [step.columns for step in plan.steps] == [{"name": "vm1"}]


def test_index_says_whom_a_change_concerns(nb):
    switch = network_switch("blue")
    assert nb.index.apply("Logical_Switch", switch, None) >= {BLUE.key, VM1.key}
    assert nb.index.apply("ACL", "x", {}) == frozenset()
    assert nb.index.holders(vm1_uuid()) == ()
    assert switch not in nb.index.rows("Logical_Switch")


def test_a_router_that_loses_its_external_network(nb):
    inner = declared("r1", Router())
    objects = [PUBLIC, inner, BLUE, VM1]
    nb.execute(plan_for(nb, *objects, owners=[inner.key, BLUE.key, FIP1.key, Key("FloatingIP", "fip2")]))
    assert not nb.rows["NAT"]
    assert not nb.rows["Logical_Router_Static_Route"]
    assert not nb.rows["HA_Chassis_Group"]


def test_a_child_of_a_row_that_goes_is_a_conflict_not_a_loss_in_silence(nb):
    rows = compile_object(VM1.key, Inventory(SAMPLE), CONTEXT)
    plan = diff([BLUE.key, VM1.key], {VM1.key: rows}, nb.index)
    assert [(conflict.kind, conflict.owner) for conflict in plan.conflicts] == [(ConflictKind.MISSING_ROW, VM1.key)]


def test_a_column_that_this_server_lacks_is_no_difference_while_we_want_nothing_of_it(nb):
    for uuid, row in list(nb.index.rows("Logical_Switch_Port").items()):
        columns = {column: value for column, value in row.columns.items() if column != "port_security" or value}
        nb.index.apply("Logical_Switch_Port", uuid, columns)
    assert not plan_for(nb, *SAMPLE)


def test_a_name_and_a_group_that_others_let_go_are_free_again(nb):
    port = Insert("Logical_Router_Port", FOREIGN.format(1), {"name": "vm9", "ha_chassis_group": gateway_group("r1")})
    nb.execute(Plan((Insert("Logical_Router", FOREIGN.format(2), {"ports": frozenset({port.uuid})}), port)))
    nb.execute(Plan((Update(port.table, port.uuid, {"name": "else", "ha_chassis_group": None}),)))
    vm9 = declared("vm9", Port(network="blue"), address="192.168.1.19", mac="0a:00:00:00:00:19")
    assert plan_for(nb, *SAMPLE, vm9).conflicts == ()
    assert plan_for(nb, owners=[R1.key]).conflicts == ()


def test_a_load_balancer_comes_and_goes_with_its_row_and_leaves_foreign_ones_in_the_group(nb):
    group, row = load_balancer_group("r1"), row_uuid("Load_Balancer", "web")
    theirs = Insert("Load_Balancer", FOREIGN.format(1), {"name": "theirs"})
    hung = Mutate("Load_Balancer_Group", group, "load_balancer", insert=frozenset({theirs.uuid}))
    nb.execute(Plan((theirs, hung)))
    assert not plan_for(nb, *SAMPLE)
    gone = plan_for(nb, *SAMPLE[:-1], owners=[WEB.key])
    assert gone.steps[-1] == Delete("Load_Balancer", row, "LoadBalancer/web no longer needs it")
    nb.execute(gone)
    assert nb.rows["Load_Balancer"].keys() == {theirs.uuid}
    assert nb.rows["Load_Balancer_Group"][group]["load_balancer"] == {theirs.uuid}
    nb.execute(plan_for(nb, *SAMPLE, owners=[WEB.key]))
    assert nb.rows["Load_Balancer_Group"][group]["load_balancer"] == {theirs.uuid, row}


def test_switch_and_router_share_the_group_beside_foreign_groups(nb):
    group, theirs = load_balancer_group("r1"), Insert("Load_Balancer_Group", FOREIGN.format(1), {"name": "theirs"})
    switch = Holder("Logical_Switch", network_switch("blue"), "load_balancer_group")
    nb.execute(Plan((theirs, Mutate(*switch, insert=frozenset({theirs.uuid}), delete=frozenset({group})))))
    nb.execute(plan_for(nb, *SAMPLE))
    assert nb.rows[switch.table][switch.uuid][switch.column] == {group, theirs.uuid}

    alone = with_spec(BLUE, router=None)
    nb.execute(plan_for(nb, PUBLIC, R1, alone, owners=[item.key for item in SAMPLE]))
    assert nb.rows[switch.table][switch.uuid][switch.column] == {theirs.uuid}
    assert nb.rows["Logical_Router"][logical_router("r1")]["load_balancer_group"] == {group}


def test_a_routers_group_goes_with_it_unless_a_foreign_switch_uses_it(nb):
    group = load_balancer_group("r1")
    theirs = Insert("Logical_Switch", FOREIGN.format(1), {"name": "theirs", "load_balancer_group": frozenset({group})})
    nb.execute(Plan((theirs,)))
    held = plan_for(nb, owners=[R1.key, BLUE.key, VM1.key, VM2.key, FIP1.key, WEB.key, Key("FloatingIP", "fip2")])
    assert [(conflict.kind, conflict.uuid) for conflict in held.conflicts] == [(ConflictKind.FOREIGN_HOLDER, group)]
    nb.execute(Plan((Delete("Logical_Switch", theirs.uuid),)))
    nb.execute(plan_for(nb, owners=[R1.key]))  # the switch of Network/blue still refers to it, and is ours
    assert nb.rows["Load_Balancer_Group"] == {}
    assert nb.rows["Logical_Switch"][network_switch("blue")]["load_balancer_group"] == frozenset()
