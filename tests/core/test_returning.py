"""A gateway that comes back waits while others carry what it would take, and never when it is needed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ovenbird.host.arp_probe import Target, reply, self_request
from ovenbird.host.returning import stakes
from ovenbird.plan.returning import HOSTS_S, RULED_S, SILENT_S, Ruling, Stake, rule
from ovenbird.plan.rows import PREEMPTS

R1 = Stake(name="cr-r1", address="172.16.0.1", mac="0a:00:00:00:00:01", physnet="ext", first=True)
R2 = replace(R1, name="cr-r2", address="172.16.0.2", mac="0a:00:00:00:00:02", first=False)
NOW_S = 128.0
JUST_S = 0.001
LONG_AGO_S = NOW_S - 30


def judged(*there: Stake, heard: tuple[Stake, ...] = (), members_s: float | None = None) -> Ruling:
    since_s = None if members_s is None else NOW_S - members_s
    asked_s = dict.fromkeys(there, LONG_AGO_S)
    return rule(there, asked_s, dict.fromkeys(heard, NOW_S - SILENT_S / 2), since_s, NOW_S)


def test_it_waits_while_another_carries_what_it_would_take() -> None:
    assert judged(R1, R2, heard=(R1, R2)).waits
    assert judged(R1, heard=(R1,), members_s=RULED_S / 2).waits


def test_it_waits_for_no_one_when_others_come_first() -> None:
    assert not judged(R2, heard=(R2,)).waits
    assert not judged(R2).waits
    assert not judged().waits


def test_what_nobody_answers_for_needs_it_whoever_comes_first() -> None:
    assert not judged(R1).waits
    assert judged(R1, R2, heard=(R1,)).why == "nobody answers for 172.16.0.2 of cr-r2"


def test_it_asks_long_enough_before_it_believes_that_nobody_answers() -> None:
    asked = rule([R1], {R1: NOW_S - SILENT_S / 2}, {}, None, NOW_S)
    assert asked == Ruling(waits=True, why="it is asked who carries cr-r1, for which this one comes first")
    assert rule([R1], {}, {}, None, NOW_S).waits, "it has not been asked at all"
    assert not rule([R1], {R1: NOW_S - SILENT_S - JUST_S}, {}, None, NOW_S).waits
    assert not rule([R1], {R1: LONG_AGO_S}, {R1: NOW_S - SILENT_S - JUST_S}, None, NOW_S).waits, "who answered has died"


def test_what_only_it_could_carry_does_not_wait_for_the_rest() -> None:
    pinned = Stake(name="r3", address="", mac="", physnet="", alone=True)
    assert not judged(R1, pinned, heard=(R1,)).waits


def test_a_router_whose_policy_it_is_to_preempt_keeps_nobody() -> None:
    at_once = replace(R1, preempts=True)
    assert not judged(at_once, heard=(at_once,)).waits
    other = replace(R2, first=True)
    assert judged(at_once, other, heard=(at_once, other)).waits


def test_who_had_to_wait_gives_hosts_time_to_hear_of_the_order() -> None:
    def ruling(members_s: float, heard_s: float, *, waited: bool = True) -> Ruling:
        return rule([R2], {R2: LONG_AGO_S}, {R2: heard_s}, NOW_S - members_s, NOW_S, waited=waited)

    assert ruling(HOSTS_S / 2, NOW_S).waits
    assert not ruling(HOSTS_S / 2, NOW_S, waited=False).waits
    assert not ruling(HOSTS_S, NOW_S).waits
    assert not ruling(HOSTS_S / 2, LONG_AGO_S).waits, "it is needed"


def test_an_order_that_stays_although_members_are_in_reach_is_meant() -> None:
    assert not judged(R1, heard=(R1,), members_s=RULED_S).waits


@given(
    st.lists(
        st.builds(
            Stake,
            name=st.sampled_from(["a", "b", "c"]),
            address=st.sampled_from(["10.0.0.1", "10.0.0.2"]),
            mac=st.just("0a:00:00:00:00:01"),
            physnet=st.just("ext"),
            first=st.booleans(),
            alone=st.booleans(),
            preempts=st.booleans(),
        ),
        max_size=4,
    ),
    st.data(),
)
def test_it_never_waits_when_all_others_are_dead(there: list[Stake], data: st.DataObject) -> None:
    heard = {one: data.draw(st.floats(0, NOW_S - SILENT_S - JUST_S)) for one in there if data.draw(st.booleans())}
    assert not rule(there, dict.fromkeys(there, 0.0), heard, None, NOW_S).waits


# The rows of SB.


def tables(order: tuple[tuple[str, int], ...], **peer_ids: str) -> dict[str, dict[str, dict[str, Any]]]:
    """Return SB with router r1 whose group has these members; "" is one that is not registered."""

    def port(name: str, kind: str, datapath: str, **columns: Any) -> dict[str, Any]:
        empty = {"options": {}, "tag": None, "external_ids": {}, "mac": (), "ha_chassis_group": None}
        return {**empty, "logical_port": name, "type": kind, "datapath": datapath, **columns}

    return {
        "Chassis": {name: {"name": name} for name in ("g1", "g2")},
        "HA_Chassis": {f"m{at}": {"chassis": name or None, "priority": n} for at, (name, n) in enumerate(order)},
        "HA_Chassis_Group": {"group": {"ha_chassis": tuple(f"m{at}" for at in range(len(order)))}},
        "Port_Binding": {
            "1": port(
                "cr-lrp",
                "chassisredirect",
                "router",
                options={"distributed-port": "lrp"},
                mac=("0A:00:00:00:00:01 172.16.0.1/24 2001:db8::1/64",),
                ha_chassis_group="group",
            ),
            "2": port("lsp", "patch", "switch", options={"peer": "lrp"}, external_ids=dict(peer_ids)),
            "3": port("ln", "localnet", "switch", options={"network_name": "ext"}, tag=101),
        },
    }


def test_what_a_gateway_may_carry_follows_from_sb() -> None:
    there = tables((("g1", 1), ("g2", 2)))
    (standby,) = stakes("g1", there)
    (first,) = stakes("g2", there)
    assert standby == replace(R1, name="cr-lrp", vlan=101, first=False)
    assert first == replace(standby, first=True)
    assert not stakes("g3", there)


def test_members_that_are_not_registered_count_for_nothing() -> None:
    (found,) = stakes("g1", tables((("g1", 1), ("", 2))))
    assert found.alone
    assert found.first


def test_the_policy_to_preempt_is_read_of_the_switch_port() -> None:
    (found,) = stakes("g1", tables((("g1", 2), ("g2", 1)), **{PREEMPTS: "true"}))
    assert found.preempts


def test_a_gateway_router_can_be_carried_by_its_chassis_alone() -> None:
    there = tables(())
    there["Port_Binding"]["4"] = {
        **there["Port_Binding"]["2"],
        "logical_port": "gr",
        "type": "l3gateway",
        "options": {"l3gateway-chassis": "g1"},
    }
    (found,) = stakes("g1", there)
    assert found.alone
    assert not stakes("g2", there)


def test_the_question_is_in_the_routers_own_name_and_from_this_hosts_own_address() -> None:
    mac, own = bytes.fromhex("0a0000000001"), bytes.fromhex("020000000009")
    asked = self_request(Target("172.16.0.1", 101), own, mac)
    assert asked[:12] == mac + own
    assert asked[12:16] == bytes.fromhex("81000065")
    address = bytes((172, 16, 0, 1))
    assert asked[26:46] == mac + address + bytes(6) + address
    answer = own + mac + asked[16:24] + b"\0\2" + mac + address + mac + address
    found = reply(answer, 101)
    assert found is not None
    assert (found.who, found.mac, found.destination) == (Target("172.16.0.1", 101), mac, own)
