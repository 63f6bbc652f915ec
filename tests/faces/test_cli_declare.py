"""Declaring by the CLI, as processes against a real API: what is shown, what is refused, and the exit codes."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from tests.faces.central import Central, describe
from tests.faces.command import ovenbird

from ovenbird.api.client import Client
from ovenbird.model.errors import UserError

GOOD = """\
kind: ExternalNetwork
name: public
spec: {physnet: ext, cidr: 172.16.0.0/24, gateway: 172.16.0.254}
---
kind: Router
name: r1
spec: {external: {network: public}}
---
kind: Network
name: blue
spec: {cidr: 192.168.1.0/24, router: r1}
---
kind: Port
name: vm1
spec: {network: blue, address: 192.168.1.11}
---
kind: FloatingIP
name: vm1-public
spec: {network: public, port: vm1}
"""

BAD = {
    "malformed YAML": ("kind: [Port\nname: a\n", ""),
    "a document that is no mapping": ("- kind: Port\n", ""),
    "unknown kind": ("kind: Netwrok\nname: a\nspec: {}\n", "Network"),
    "unknown field": ("kind: Network\nname: a\nspec: {cdir: 10.0.0.0/24}\n", "cidr"),
    "wrong type": ("kind: ExternalNetwork\nname: a\nspec: {physnet: ext, cidr: 10.0.0.0/24, vlan: many}\n", "vlan"),
    "not an address": ("kind: Network\nname: a\nspec: {cidr: 10.0.0.300/24}\n", "10.0.0.300"),
    "address outside the network": ("kind: Port\nname: a\nspec: {network: blue, address: 10.9.9.9}\n", "10.9.9.9"),
    "overlap": ("kind: Network\nname: a\nspec: {cidr: 192.168.1.128/25, router: r1}\n", "overlaps"),
    "unknown physnet": ("kind: ExternalNetwork\nname: a\nspec: {physnet: nope, cidr: 10.0.0.0/24}\n", "nope"),
    "a name twice": (
        "kind: Port\nname: a\nspec: {network: blue}\n---\nkind: Port\nname: a\nspec: {network: blue}\n",
        "twice",
    ),
    "a bad name": ("kind: Network\nname: Blue!\nspec: {cidr: 10.0.0.0/24}\n", "Blue!"),
    "missing reference": ("kind: Port\nname: a\nspec: {network: nowhere}\n", "nowhere"),
    "an address that is taken": ("kind: Port\nname: a\nspec: {network: blue, address: 192.168.1.11}\n", "vm1"),
    "a MAC that is taken": (
        "kind: Port\nname: a\nspec: {network: blue, mac: '0a:00:00:00:00:01'}\n---\n"
        "kind: Port\nname: b\nspec: {network: blue, mac: '0a:00:00:00:00:01'}\n",
        "0a:00:00:00:00:01",
    ),
}


@pytest.fixture
def declared(tier: Central, tmp_path):
    """The tier with GOOD declared, and the file that did it."""
    file = tmp_path / "good.yaml"
    file.write_text(GOOD)
    Client([tier.socket()]).post("/v1/apply", {"documents": [{"file": "good.yaml", "text": GOOD}]})
    return tier, file


def everything(tier: Central) -> dict[str, Any]:
    return Client([tier.socket()]).get("/v1/objects")


def test_plan_shows_each_field_and_apply_does_it(tier, tmp_path):
    file = tmp_path / "good.yaml"
    file.write_text(GOOD)
    planned = ovenbird("plan", "-f", file, server=tier.socket())
    assert planned.status == 0
    assert "+ Network/blue\n    cidr: 192.168.1.0/24\n    router: r1\n" in planned.out
    assert "Plan: 5 to create" in planned.out
    assert ovenbird("plan", "-f", file, "--exit-code", server=tier.socket()).status == 1
    done = ovenbird("apply", "-f", file, server=tier.socket())
    assert done.out.splitlines() == [
        "ExternalNetwork/public created",
        "Router/r1 created",
        "Network/blue created",
        "Port/vm1 created",
        "FloatingIP/vm1-public created",
    ]
    assert "5 created (revision " in done.err
    again = ovenbird("plan", "-f", file, "--exit-code", server=tier.socket())
    assert again.status == 0
    assert again.out.startswith("Plan: 5 unchanged")


def test_plan_shows_old_and_new_of_an_update(declared):
    tier, _ = declared
    text = "kind: Port\nname: vm1\nspec: {network: blue, address: 192.168.1.12}\n"
    done = ovenbird("plan", "-f", "-", server=tier.socket(), given=text)
    assert "~ Port/vm1\n    address: 192.168.1.11 -> 192.168.1.12\n" in done.out
    assert "Plan: 1 to update" in done.out


@pytest.mark.parametrize("verb", ["apply", "plan"])
@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_told_with_its_place_and_nothing_is_applied(declared, tmp_path, what, verb):
    tier, _ = declared
    before = everything(tier)
    text, said = BAD[what]
    file = tmp_path / "bad.yaml"
    file.write_text(f"# a comment\nkind: Network\nname: fine\nspec: {{cidr: 10.77.0.0/24}}\n---\n{text}")
    done = ovenbird(verb, "-f", file, server=tier.socket())
    assert (done.status, done.out) == (UserError.exit_status, "")
    first, place, *_ = done.err.splitlines()
    assert first.startswith("error: ")
    assert place.startswith(f"{file}:")
    line = int(place.removeprefix(f"{file}:").split(":")[0])
    assert line > 4
    assert said in done.err
    assert "Traceback" not in done.err
    assert everything(tier) == before


def test_every_problem_of_every_file_is_told_at_once(tier, tmp_path):
    for number, text in enumerate(("kind: Nope\nname: a\n", "kind: Port\nname: b\nspec: {netwrok: x}\n")):
        (tmp_path / f"{number}.yaml").write_text(text)
    done = ovenbird("apply", "-f", tmp_path, "-o", "json", server=tier.socket())
    assert done.status == 2
    places = {(problem["file"], problem["line"]) for problem in done.json["error"]["problems"]}
    assert {(str(tmp_path / "0.yaml"), 1), (str(tmp_path / "1.yaml"), 3)} <= places


def test_what_get_prints_as_yaml_can_be_applied_again(declared):
    tier, _ = declared
    printed = ovenbird("get", "-o", "yaml", server=tier.socket()).out
    assert len(list(yaml.safe_load_all(printed))) == 5
    done = ovenbird("plan", "-f", "-", "--exit-code", server=tier.socket(), given=printed)
    assert (done.status, done.out) == (0, done.out)
    assert done.out.startswith("Plan: 5 unchanged")


def test_get_shows_kinds_in_tables_of_their_own(declared):
    tier, _ = declared
    assert ovenbird("get", "fips", server=tier.socket()).out.split() == [
        *("FLOATINGIP", "NETWORK", "ADDRESS", "PORT", "DISTRIBUTED", "REVISION"),
        *("vm1-public", "public", "172.16.0.2", "vm1", "false"),
        str(everything(tier)["revision"]),
    ]
    one = ovenbird("get", "router", "r1", "-o", "json", server=tier.socket()).json
    assert (one["kind"], one["spec"]) == ("Router", {"external": {"network": "public"}})


def test_get_of_what_does_not_exist_offers_a_near_name(declared):
    tier, _ = declared
    done = ovenbird("get", "net", "bleu", server=tier.socket())
    assert done.status == 2
    assert 'did you mean "blue"?' in done.err


def test_describe_tells_who_uses_it(declared):
    tier, _ = declared
    done = ovenbird("describe", "network", "blue", server=tier.socket())
    assert done.status == 0
    assert "used_by:\n  - Port/vm1\n" in done.out


def test_deleting_what_is_used_is_refused_with_its_users(declared):
    tier, file = declared
    before = everything(tier)
    done = ovenbird("delete", "network", "blue", server=tier.socket())
    assert (done.status, done.out) == (3, "")
    assert "Port/vm1" in done.err
    assert everything(tier) == before
    dry = ovenbird("delete", "-f", file, "--dry-run", server=tier.socket())
    assert (dry.status, everything(tier)) == (0, before)
    assert ovenbird("delete", "-f", file, server=tier.socket()).status == 0
    assert ovenbird("get", server=tier.socket()).out == "nothing is declared\n"


def test_ports_are_attached_listed_and_detached(declared):
    tier, _ = declared
    assert ovenbird("port", "attach", "vm1", "--node", "n1", "--static", server=tier.socket()).status == 0
    listed = ovenbird("port", "list", server=tier.socket()).out.splitlines()
    assert listed[1].split()[:4] == ["vm1", "n1", "namespace", "wanted"]
    refused = ovenbird("port", "attach", "vm1", "--node", "g1", server=tier.socket())
    assert refused.status == 3
    assert "n1" in refused.err
    late = ovenbird(
        "port", "attach", "vm1", "--node", "n1", "--static", "--wait", "--timeout", "0.3", server=tier.socket()
    )
    assert late.status == 75
    assert "n1: no word from the agent" in late.err
    assert ovenbird("port", "detach", "vm1", server=tier.socket()).out == "Port/vm1 detached\n"
    assert ovenbird("port", "list", server=tier.socket()).out == "nothing is attached\n"


@pytest.mark.parametrize(
    ("port", "node", "said"), [("none", "n1", "Port/none"), ("vm1", "c1", "c1"), ("vm1", "x", "x")]
)
def test_attaching_what_or_where_does_not_exist(declared, port, node, said):
    tier, _ = declared
    done = ovenbird("port", "attach", port, "--node", node, server=tier.socket())
    assert done.status == 2
    assert said in done.err


def test_wait_names_the_culprit_and_exits_with_75(declared):
    """There is no ovn-northd here."""
    tier, file = declared
    done = ovenbird("wait", "--timeout", "0.5", server=tier.socket())
    assert done.status == 75
    assert "northd" in done.err
    done = ovenbird("apply", "-f", file, "--wait", "--timeout", "0.5", "-o", "json", server=tier.socket())
    assert (done.status, done.json["error"]["code"]) == (75, "not_realised")
    assert {change["action"] for change in done.json["changes"]} == {"unchanged"}
    assert done.json["realised"]["state"] == "lagging"


def test_status_is_down_without_northd_and_says_why(tier):
    done = ovenbird("status", server=tier.socket())
    assert done.status == 5
    assert done.out.startswith("DOWN  cluster test, as seen from c1")
    assert "no ovn-northd is active: c1 not running" in done.out
    seen = ovenbird("status", "-o", "json", server=tier.socket())
    assert (seen.status, seen.json["verdict"]) == (5, "down")
    assert seen.json["databases"]["nb"]["members"][0]["state"] == "leader"
    assert seen.json["databases"]["nb"]["term"] >= 1
    assert seen.json["controller"]["leader"] == "c1"


def test_a_server_that_is_gone_is_passed_over(tier, tmp_path):
    servers = f"unix:{tmp_path / 'gone.sock'},unix:{tier.socket()}"
    assert ovenbird("--server", servers, "get").status == 0
    assert ovenbird("get", env={"OVENBIRD_SERVER": servers}).status == 0


def test_a_database_of_another_cluster_is_refused(running):
    """The description names the same hosts but another cluster: nothing is read, nothing is written."""
    other = describe(1, name="other")
    wrong = type(other)(name="other", hosts=running.cluster.hosts)
    before = everything(running)
    running.stop_api()
    try:
        running.start_api(cluster=wrong)
        for verb in ("apply", "plan"):
            done = ovenbird(verb, "-f", "-", server=running.socket(), given=GOOD)
            assert done.status == 3
            assert "belongs to cluster 'test', not to 'other'" in done.err
        assert ovenbird("get", server=running.socket()).status == 3
    finally:
        running.stop_api()
        running.start_api()
    assert everything(running) == before
