"""`ovenbird check` on a whole cluster: nothing unsafe by itself; what others make in NB is found and explained."""

from __future__ import annotations

import json

import pytest
from tests.lab.cluster.site import VLAN, Site
from tests.waiting import eventually_sync

pytestmark = pytest.mark.lab

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
"""


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


def test_what_is_unsafe_is_named_with_its_reason_also_in_foreign_rows(site: Site) -> None:
    nbctl(site, FOREIGN)
    try:
        done = site.cli("check", "-o", "json")
        found = {(one["rule"], one["subject"]): one for one in done.json["findings"]}
        assert set(found) == {
            ("obsolete.redirect_chassis", "foreign (foreign-old)"),
            ("gateway.unknown_chassis", "foreign (foreign-wrong)"),
            ("gateway.unmapped", "foreign (foreign-bare)"),
            ("loop.two_localnets", "foreign-wire"),
        } | {("gateway.unmapped", "foreign (foreign-bare)")}
        assert done.status == 4
        assert (
            "lrp-set-gateway-chassis foreign-old g1"
            in found["obsolete.redirect_chassis", "foreign (foreign-old)"]["hint"]
        )
        text = site.cli("check").out
        assert "UNSAFE  foreign (foreign-wrong): its list of gateways names nobody, which is no chassis in SB" in text
    finally:
        nbctl(site, "lr-del foreign -- ls-del foreign-wire")
    eventually_sync(lambda: site.cli("check").status == 0, within_s=10)


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
