"""Who may create a database cluster: over all observations, never two."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovenbird.model.cluster import Database
from ovenbird.plan.bootstrap import (
    CONFIRMATIONS,
    Create,
    DatabaseFile,
    Join,
    Observation,
    Peer,
    PeerAnswer,
    Refuse,
    Serve,
    Wait,
    decide,
)

HERE = "tcp:10.0.0.1:6643"
CID = "11111111-2222-3333-4444-555555555555"
OTHER_CID = "99999999-2222-3333-4444-555555555555"


def peer(number: int, answer: PeerAnswer, cid: str = "") -> Peer:
    return Peer(name=f"c{number}", raft_remote=f"tcp:10.0.0.{number}:6643", answer=answer, cid=cid, detail="timed out")


def seen(
    *peers: Peer, file: DatabaseFile | None = None, permitted: bool = False, alike: int = CONFIRMATIONS
) -> Observation:
    return Observation(
        database=Database.NB, raft_remote=HERE, file=file, permitted=permitted, peers=peers, seen_alike=alike
    )


def a_file(**changes: object) -> DatabaseFile:
    whole = {"path": "/x.db", "name": "OVN_Northbound", "clustered": True, "raft_remote": HERE, **changes}
    return DatabaseFile(**whole)  # type: ignore[arg-type]


EMPTY = [peer(2, PeerAnswer.NO_SERVER), peer(3, PeerAnswer.NO_SERVER)]
ONE_UNKNOWN = [peer(2, PeerAnswer.NO_SERVER), peer(3, PeerAnswer.UNKNOWN)]
ONE_CLUSTER = [peer(2, PeerAnswer.UNKNOWN), peer(3, PeerAnswer.CLUSTER, CID)]


def test_the_permitted_host_creates_once_all_peers_said_that_they_have_nothing():
    assert decide(seen(*EMPTY, permitted=True)) == Create()


def test_one_look_at_the_peers_is_not_enough_to_create():
    assert isinstance(decide(seen(*EMPTY, permitted=True, alike=1)), Wait)


def test_a_single_central_host_asks_nobody():
    assert decide(seen(permitted=True, alike=1)) == Create()


def test_a_silent_peer_stops_creation_and_is_named():
    decision = decide(seen(*ONE_UNKNOWN, permitted=True))
    assert isinstance(decision, Wait)
    assert "c3 (timed out)" in decision.reason


def test_without_permission_a_host_waits():
    assert isinstance(decide(seen(*EMPTY)), Wait)


@pytest.mark.parametrize("permitted", [False, True])
def test_a_cluster_that_answers_is_joined_even_with_permission_to_create(permitted: bool):
    decision = decide(seen(*ONE_CLUSTER, permitted=permitted))
    assert decision == Join(CID, ("tcp:10.0.0.3:6643", "tcp:10.0.0.2:6643"))


def test_two_clusters_are_a_persons_business():
    decision = decide(seen(peer(2, PeerAnswer.CLUSTER, CID), peer(3, PeerAnswer.CLUSTER, OTHER_CID), permitted=True))
    assert isinstance(decision, Refuse)
    assert decision.code == "two_clusters"
    assert CID in decision.reason
    assert OTHER_CID in decision.reason


def test_a_host_with_its_file_serves_it_whatever_the_peers_say():
    for peers, permitted in itertools.product([[], EMPTY, ONE_UNKNOWN, ONE_CLUSTER], [False, True]):
        assert decide(seen(*peers, file=a_file(), permitted=permitted)) == Serve()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"clustered": False}, "standalone_file"),
        ({"name": "OVN_Southbound"}, "foreign_file"),
        ({"raft_remote": "tcp:10.0.0.9:6643"}, "address_changed"),
    ],
)
def test_a_file_that_cannot_be_this_member_is_refused(changes: dict[str, object], code: str):
    decision = decide(seen(file=a_file(**changes)))
    assert isinstance(decision, Refuse)
    assert decision.code == code
    assert decision.hint


ANSWERS = st.sampled_from(list(PeerAnswer))
PEERS = st.lists(ANSWERS, max_size=6).map(
    lambda answers: [peer(i + 2, a, CID if a is PeerAnswer.CLUSTER else "") for i, a in enumerate(answers)]
)


@given(peers=PEERS, permitted=st.booleans(), alike=st.integers(1, 5))
def test_creation_needs_permission_and_every_peers_word(peers: list[Peer], permitted: bool, alike: int):
    decision = decide(seen(*peers, permitted=permitted, alike=alike))
    if isinstance(decision, Create):
        assert permitted
        assert all(one.answer is PeerAnswer.NO_SERVER for one in peers)
        assert not peers or alike >= CONFIRMATIONS
    if any(one.answer is PeerAnswer.CLUSTER for one in peers):
        assert isinstance(decision, Join)
