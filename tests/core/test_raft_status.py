"""The text of `cluster/status`, as OVS 3.1.0 printed it, in each state that matters."""

from __future__ import annotations

import pytest

from ovenbird.model.raft_status import RaftStatus, parse_raft_status
from ovenbird.plan.raft_timer import next_election_timer_ms

LEADER = """\
32d5
Name: Ovenbird
Cluster ID: cccf (cccf5d41-c9ae-4912-b157-5e4502812fa9)
Server ID: 32d5 (32d5b5ca-7e47-47e5-8925-7508ddeb030b)
Address: tcp:127.7.0.1:6663
Status: cluster member
Role: leader
Term: 2
Leader: self
Vote: self

Last Election started 5486 ms ago, reason: timeout
Last Election won: 5486 ms ago
Election timer: 1000 (changing to 2000)
Log: [2, 13]
Entries not yet committed: 0
Entries not yet applied: 0
Connections: <-9518 <-17d1 ->9518 ->17d1
Disconnections: 0
Servers:
    9518 (9518 at tcp:127.7.0.2:6663) next_index=13 match_index=12 last msg 51 ms ago
    17d1 (17d1 at tcp:127.7.0.3:6663) next_index=13 match_index=12
    32d5 (32d5 at tcp:127.7.0.1:6663) (self) next_index=3 match_index=12
"""
FOLLOWER = """\
9518
Name: Ovenbird
Cluster ID: cccf (cccf5d41-c9ae-4912-b157-5e4502812fa9)
Server ID: 9518 (95189210-047c-47c3-ac81-6701052775d6)
Address: tcp:127.7.0.2:6663
Status: cluster member
Role: follower
Term: 2
Leader: 32d5
Vote: unknown

Election timer: 1000
Log: [2, 13]
Entries not yet committed: 0
Entries not yet applied: 0
Connections: ->32d5 <-32d5 (->17d1)
Disconnections: 1
Servers:
    9518 (9518 at tcp:127.7.0.2:6663) (self)
    32d5 (32d5 at tcp:[fd00::1]:6663) last msg 220 ms ago
"""
JOINING = """\
26e3
Name: OVN_Northbound
Cluster ID: not yet known
Server ID: 26e3 (26e33814-ef80-4522-8700-dfc02ab11178)
Address: tcp:127.7.0.3:6643
Status: joining cluster
Remotes for joining: tcp:127.7.0.1:6643 tcp:127.7.0.2:6643
Role: follower
Term: 0
Leader: unknown
Vote: unknown

Election timer: 1000
Log: [2, 2]
Connections:
Disconnections: 0
Servers:
"""
CUT_OFF = FOLLOWER.replace("cluster member", "disconnected from the cluster (election timeout)").replace(
    "Role: follower\nTerm: 2\nLeader: 32d5", "Role: candidate\nTerm: 7\nLeader: unknown"
)


def test_a_leader():
    status = parse_raft_status(LEADER)
    assert (status.cid, status.sid) == ("cccf5d41-c9ae-4912-b157-5e4502812fa9", "32d5b5ca-7e47-47e5-8925-7508ddeb030b")
    assert (status.role, status.term, status.leader, status.log_end) == ("leader", 2, "self", 13)
    assert status.is_leader
    assert status.is_serving
    assert status.leader_address == "tcp:127.7.0.1:6663"
    assert status.election_timer_ms == 1000
    members = [(one.nickname, one.address, one.is_self, one.last_message_ms) for one in status.members]
    assert members == [
        ("9518", "tcp:127.7.0.2:6663", False, 51),
        ("17d1", "tcp:127.7.0.3:6663", False, None),
        ("32d5", "tcp:127.7.0.1:6663", True, None),
    ]


def test_a_follower_knows_its_leaders_address():
    status = parse_raft_status(FOLLOWER)
    assert status.leader_address == "tcp:[fd00::1]:6663"
    assert status.is_serving
    assert not status.is_leader


def test_a_joining_member_knows_nothing_and_serves_nothing():
    status = parse_raft_status(JOINING)
    assert (status.cid, status.leader_address, status.members) == ("", "", ())
    assert status.status == "joining cluster"
    assert not status.is_serving


def test_a_member_that_lost_the_majority_does_not_serve():
    status = parse_raft_status(CUT_OFF)
    assert (status.role, status.term) == ("candidate", 7)
    assert not status.is_serving


def test_nothing_is_known_of_nothing():
    assert parse_raft_status("") == RaftStatus()


@pytest.mark.parametrize(
    ("now_ms", "wanted_ms", "step_ms"),
    [
        (1000, 1000, None),
        (1000, 8000, 2000),
        (4000, 8000, 8000),
        (8000, 1000, 1000),
        (1000, 1500, 1500),
        (0, 1000, None),
    ],
)
def test_an_election_timer_at_most_doubles_per_step(now_ms: int, wanted_ms: int, step_ms: int | None):
    assert next_election_timer_ms(now_ms, wanted_ms) == step_ms
