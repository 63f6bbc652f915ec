"""Status of a three-member tier while its members die, hang and come back: what is known, and what is not."""

from __future__ import annotations

import signal
import time

import pytest
from tests.faces.central import Central, describe
from tests.faces.command import ovenbird
from tests.waiting import eventually_sync

from ovenbird.api.client import Client
from ovenbird.model.cluster import Database

NETWORK = "kind: Network\nname: blue\nspec: {cidr: 192.168.1.0/24}\n"


@pytest.fixture
def tier(tmp_path):
    """Three central hosts, all databases, the API on the first host."""
    with Central(tmp_path, describe(3)) as running:
        running.start_api()
        seen(running)
        yield running


def seen(tier: Central, host: str = "c1"):
    return Client([tier.socket(host)]).get("/v1/status")


def database(tier: Central, name: str):
    return seen(tier)["databases"][name]


def rules(tier: Central) -> set[tuple[str, str]]:
    return {(reason["rule"], reason["subject"]) for reason in seen(tier)["reasons"]}


def follower(tier: Central, name: str) -> str:
    """Return a host other than the observer whose member follows."""
    return next(m["host"] for m in database(tier, name)["members"] if m["state"] == "follower" and m["host"] != "c1")


def state(tier: Central, name: str, host: str) -> str:
    return next(m["state"] for m in database(tier, name)["members"] if m["host"] == host)


def test_members_leader_term_and_cluster_are_seen(tier):
    for name in ("nb", "sb", "ovenbird"):
        found = database(tier, name)
        assert found["verdict"] == "healthy"
        assert sorted(m["state"] for m in found["members"]) == ["follower", "follower", "leader"]
        assert found["leader"] == next(m["host"] for m in found["members"] if m["state"] == "leader")
        assert found["quorum"] is True
        assert found["term"] >= 1
        assert found["cid"]


def test_a_dead_member_degrades_and_a_hung_one_is_unknown(tier):
    dead = follower(tier, "nb")
    tier.kill(dead, Database.NB)
    assert state(tier, "nb", dead) == "not serving"
    assert ("database.member_missing", "nb") in rules(tier)
    assert database(tier, "nb")["quorum"] is True

    hung = follower(tier, "sb")
    process = tier.servers[hung, Database.SB]
    process.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert state(tier, "sb", hung) == "unknown"
        assert time.monotonic() - began < 12
        assert ("database.member_unknown", "sb") in rules(tier)
        assert database(tier, "sb")["verdict"] == "degraded"
    finally:
        process.send_signal(signal.SIGCONT)
    eventually_sync(lambda: state(tier, "sb", hung) == "follower", within_s=20)
    tier.start(dead, Database.NB)
    eventually_sync(lambda: database(tier, "nb")["verdict"] == "healthy", within_s=20)


def test_without_a_majority_a_database_is_down_and_nothing_can_be_declared(tier, tmp_path):
    """The API on the survivor says so, with documented exit codes, and nothing is half-applied."""
    file = tmp_path / "net.yaml"
    file.write_text(NETWORK)
    for host in ("c2", "c3"):
        tier.kill(host, Database.OVENBIRD)
    eventually_sync(lambda: ("database.no_quorum", "ovenbird") in rules(tier), within_s=20)
    found = ovenbird("status", "-o", "json", server=tier.socket())
    assert (found.status, found.json["verdict"]) == (5, "down")
    assert found.json["databases"]["ovenbird"]["quorum"] is False
    assert found.json["databases"]["nb"]["quorum"] is True
    assert found.json["controller"]["leader"] is None

    refused = ovenbird("apply", "-f", file, server=tier.socket())
    assert refused.status == 69
    assert "Ovenbird database" in refused.err
    assert ovenbird("get", server=tier.socket()).status == 69

    for host in ("c2", "c3"):
        tier.start(host, Database.OVENBIRD)
    eventually_sync(lambda: database(tier, "ovenbird")["verdict"] == "healthy", within_s=20)
    got = eventually_sync(lambda: (one := ovenbird("get", server=tier.socket())).status == 0 and one, within_s=20)
    assert got.out == "nothing is declared\n"
    assert ovenbird("apply", "-f", file, server=tier.socket()).status == 0


def test_a_host_that_reaches_nobody_says_that_it_may_be_cut_off(tier):
    """The others do not refuse, they are silent: they may live, so the answer says whose view it is."""
    others = [tier.servers[host, Database.NB] for host in ("c2", "c3")]
    for process in others:
        process.send_signal(signal.SIGSTOP)
    try:
        eventually_sync(lambda: ("database.cut_off", "nb") in rules(tier), within_s=20)
        found = seen(tier)
        assert found["cut_off"] is True
        assert found["databases"]["nb"]["quorum"] is None
        assert "as seen from c1" in found["reasons"][0]["message"]
    finally:
        for process in others:
            process.send_signal(signal.SIGCONT)
    eventually_sync(lambda: database(tier, "nb")["verdict"] == "healthy", within_s=20)


def test_the_host_with_the_acting_controller_is_asked_as_it_alone_knows_problems(tier):
    tier.start_api("c2")
    both = [f"unix:{tier.socket(host)}" for host in ("c1", "c2")]
    eventually_sync(lambda: seen(tier)["controller"]["leader"], within_s=10)
    for servers in (both, reversed(both)):
        found = ovenbird("--server", ",".join(servers), "status", "-o", "json").json
        assert found["observer"] == found["controller"]["leader"]
        assert found["problems"] == []
