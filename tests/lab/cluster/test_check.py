"""`ovenbird check` on a whole cluster: nothing unsafe by itself; what others make in NB is found and explained."""

from __future__ import annotations

import json
import time

import pytest
from tests.lab.cluster.site import VLAN, Site, ping
from tests.waiting import eventually_sync

from ovenbird.drill.load import Load, Stream
from ovenbird.drill.outage import largest
from ovenbird.plan.compile_names import external_switch

pytestmark = pytest.mark.lab

FELT_MS = 1000
"""Far more than a busy machine's noise, and than a list costs that OVN follows without a move."""
FOREIGN = """
ls-add foreign-wire -- lsp-add foreign-wire foreign-ext -- lsp-set-type foreign-ext localnet
-- lsp-set-options foreign-ext network_name=ext
-- lsp-add foreign-wire foreign-dmz -- lsp-set-type foreign-dmz localnet -- lsp-set-options foreign-dmz network_name=dmz
-- lr-add foreign -- lrp-add foreign foreign-old 0a:00:00:00:77:01 10.77.1.1/24
-- set Logical_Router_Port foreign-old options:redirect-chassis=g1
-- lrp-add foreign foreign-wrong 0a:00:00:00:77:02 10.77.2.1/24 -- lrp-set-gateway-chassis foreign-wrong nobody 10
-- lrp-add foreign foreign-bare 0a:00:00:00:77:03 10.77.3.1/24 -- lrp-set-gateway-chassis foreign-bare g3 10
-- lsp-add foreign-wire foreign-peer -- lsp-set-type foreign-peer router
-- lsp-set-options foreign-peer router-port=foreign-bare
-- lrp-add foreign foreign-mixed 0a:00:00:00:77:04 10.77.4.1/24
-- lrp-set-gateway-chassis foreign-mixed g1 20 -- lrp-set-gateway-chassis foreign-mixed far 10
-- ls-add foreign-rack -- lsp-add foreign-rack foreign-rack-ext -- lsp-set-type foreign-rack-ext localnet
-- lsp-set-options foreign-rack-ext network_name=ext
-- lsp-add foreign-rack foreign-rack-l2 -- lsp-set-type foreign-rack-l2 l2gateway
-- lsp-set-options foreign-rack-l2 network_name=ext l2gateway-chassis=g2
"""
OLD = ("obsolete.redirect_chassis", "foreign (foreign-old)")
ELDER, ELDER_ADDRESS = "elder", "172.16.0.160"
TWO_FORMS = f"""
lr-add {ELDER} -- lrp-add {ELDER} {ELDER}-out 0a:00:00:00:77:09 {ELDER_ADDRESS}/24
-- lrp-set-gateway-chassis {ELDER}-out {{first}} 20 -- lrp-set-gateway-chassis {ELDER}-out {{second}} 10
-- lsp-add {external_switch("public")} {ELDER}-peer -- lsp-set-type {ELDER}-peer router
-- lsp-set-addresses {ELDER}-peer router -- lsp-set-options {ELDER}-peer router-port={ELDER}-out
"""
AS_GROUP = f"""
--id=@first create HA_Chassis chassis_name={{first}} priority=20
-- --id=@second create HA_Chassis chassis_name={{second}} priority=10
-- --id=@group create HA_Chassis_Group name={ELDER} ha_chassis=@first,@second
-- set Logical_Router_Port {ELDER}-out ha_chassis_group=@group
-- clear Logical_Router_Port {ELDER}-out gateway_chassis
"""
"""As docs/gateways.md has it."""


def nbctl(site: Site, words: str) -> None:
    argv = ["ovn-nbctl", "--timeout=10", "--db", ",".join(f"tcp:10.99.0.{at}:6641" for at in (1, 2, 3)), *words.split()]
    site.central().run(argv, timeout_s=15).checked(subject="ovn-nbctl")


def test_a_whole_cluster_has_nothing_unsafe(site: Site) -> None:
    done = site.cli("check", "-o", "json")
    assert (done.status, done.json["findings"], done.json["unknown"]) == (0, [], [])
    assert "nothing unsafe" in site.cli("check").out


def test_gateways_tell_where_they_see_the_upstream_router(site: Site) -> None:
    """Whether they are on one layer 2 is judged by that."""
    networks = {"public": "br-trunk", "tenant-uplink": f"vlan{VLAN}"}
    addresses = {
        name: site.outside.run(["cat", f"/sys/class/net/{interface}/address"]).stdout.strip()
        for name, interface in networks.items()
    }

    def told() -> bool:
        seen = {name: site.facts(name)["fitness"]["next_hops"] for name in ("g1", "g2")}
        assert seen == dict.fromkeys(("g1", "g2"), addresses)
        return True

    eventually_sync(told, within_s=15)


def sbctl(site: Site, *words: str) -> None:
    remotes = ",".join(f"tcp:10.99.0.{at}:6642" for at in (1, 2, 3))
    argv = ["ovn-sbctl", "--timeout=10", "--db", remotes, *words]
    site.central().run(argv, timeout_s=15).checked(subject="ovn-sbctl")


def found(site: Site) -> dict[tuple[str, str], dict[str, str]]:
    return {(one["rule"], one["subject"]): one for one in site.cli("check", "-o", "json").json["findings"]}


def test_what_is_unsafe_is_named_with_its_reason_also_in_foreign_rows(site: Site) -> None:
    sbctl(site, "chassis-add", "far", "vxlan", "192.0.2.77")
    try:
        nbctl(site, FOREIGN)
        seen = found(site)
        assert set(seen) == {
            OLD,
            ("gateway.unknown_chassis", "foreign (foreign-wrong)"),
            ("gateway.unmapped", "foreign (foreign-bare)"),
            ("gateway.encapsulation", "foreign (foreign-mixed)"),
            ("loop.two_localnets", "foreign-rack"),
            ("loop.two_localnets", "foreign-wire"),
        }
        done = site.cli("check")
        assert done.status == 4
        wrong = "UNSAFE  foreign (foreign-wrong): its list of gateways names nobody, which is no chassis in SB"
        assert wrong in done.out
        # What it says is to be done puts it right: there is one list that OVN follows, and no such key.
        nbctl(site, seen[OLD]["hint"].removeprefix("ovn-nbctl "))
        eventually_sync(lambda: site.bound_to("cr-foreign-old") == "g1", within_s=20)
        assert OLD not in found(site)
        assert [row["options"] for row in site.nb("Logical_Router_Port", "options", where=["name=foreign-old"])] == [{}]
    finally:
        nbctl(site, "--if-exists lr-del foreign -- --if-exists ls-del foreign-wire -- --if-exists ls-del foreign-rack")
        sbctl(site, "--if-exists", "chassis-del", "far")
    eventually_sync(lambda: site.cli("check").status == 0, within_s=10)


def test_one_form_of_list_becomes_the_other_without_a_gap(site: Site) -> None:
    first, second = site.active("r1"), site.standby("r1")
    nbctl(site, TWO_FORMS.format(first=first, second=second))
    try:
        eventually_sync(lambda: ping(site.outside, ELDER_ADDRESS), within_s=20)
        with Load(site.lab, [Stream(name="elder", node="outside", workload="", target=ELDER_ADDRESS)]) as load:
            assert load.wait_flowing(timeout_s=60) == ()
            nbctl(site, AS_GROUP.format(first=first, second=second))
            changed_ns = time.time_ns()
            eventually_sync(lambda: in_group(site, f"cr-{ELDER}-out"), within_s=20)
            (port,) = site.nb("Logical_Router_Port", "gateway_chassis", "ha_chassis_group", where=[f"name={ELDER}-out"])
            assert port["gateway_chassis"] == [] and port["ha_chassis_group"]
            eventually_sync(
                lambda: sum(at_ns > changed_ns for _, at_ns in load.received("elder")) > 300, within_s=20, every_s=0.2
            )
            record = load.stop()[0][0]
        gap = largest(record, record.sent[0][1], record.received[-1][1])
        print("gap_ms", gap.ms, "lost", record.lost())  # noqa: T201 - `pytest -rP` shows it
        assert gap.ms < FELT_MS
        assert site.bound_to(f"cr-{ELDER}-out") == first
    finally:
        # A group that a port refers to cannot go, not even together with that port.
        nbctl(site, f"clear Logical_Router_Port {ELDER}-out ha_chassis_group -- lr-del {ELDER} -- lsp-del {ELDER}-peer")
        nbctl(site, f"--if-exists destroy HA_Chassis_Group {ELDER}")


def in_group(site: Site, port: str) -> bool:
    """Whether SB's list of gateways of a port is the group's."""
    groups = {row["_uuid"]: row["name"] for row in site.sb("HA_Chassis_Group", "_uuid", "name")}
    ports = site.sb("Port_Binding", "ha_chassis_group", where=[f"logical_port={port}"])
    return [groups.get(row["ha_chassis_group"]) for row in ports] == [ELDER]


def test_a_second_list_that_somebody_gives_to_one_of_ours_is_taken_away(site: Site) -> None:
    active, standby = site.active("r1"), site.standby("r1")
    nbctl(site, f"lrp-set-gateway-chassis r1_public {standby} 99")
    eventually_sync(
        lambda: (
            [row["gateway_chassis"] for row in site.nb("Logical_Router_Port", "gateway_chassis", where=OURS)] == [[]]
        ),
        within_s=20,
    )
    assert site.bound_to("cr-r1_public") == active


OURS = ["name=r1_public"]


def test_ours_have_one_form_of_list_and_its_members_are_registered_and_mapped(site: Site) -> None:
    ports = site.nb("Logical_Router_Port", "name", "gateway_chassis", "ha_chassis_group", "options")
    with_group = [row for row in ports if row["ha_chassis_group"]]
    assert len(with_group) >= 4
    assert all(row["gateway_chassis"] == [] and "redirect-chassis" not in row["options"] for row in with_group)


@pytest.mark.parametrize(
    ("to", "code", "why"),
    [
        ("g9", 2, "g9 is not a gateway"),
        ("n1", 2, "n1 is not a gateway"),
        ("g3", 3, "g3 has no uplink to the external network"),
    ],
)
def test_a_wrong_gateway_is_refused_with_the_reason(site: Site, to: str, code: int, why: str) -> None:
    before = site.nb("HA_Chassis", "_uuid", "chassis_name", "priority")
    done = site.cli("gateway", "move", "r1", "--to", to, "-o", "json")
    assert done.status == code
    assert why in json.loads(done.out)["error"]["message"]
    assert site.nb("HA_Chassis", "_uuid", "chassis_name", "priority") == before
