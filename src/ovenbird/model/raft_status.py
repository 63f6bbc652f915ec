"""What one member of a RAFT database says about itself: the text of ovsdb-server's `cluster/status` as a value.

The text is meant for people (ovsdb-server(8), "Cluster Commands"); its lines are those of OVS 2.9 to 3.x. A line that
is missing leaves its field empty: absent is not an error, and a joining member knows little.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_ID = re.compile(r"\(([0-9a-f-]{36})\)")
_SERVER = re.compile(r"^\s+([0-9a-f]{4}) \(([0-9a-f]{4}) at ([^)]+)\)( \(self\))?(.*)$")
_LAST_MESSAGE = re.compile(r"last msg (\d+) ms ago")
_TIMER = re.compile(r"^(\d+)")
_LOG = re.compile(r"\[(\d+), (\d+)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One line of `Servers:`."""

    nickname: str
    """First four digits of the server id."""
    address: str
    is_self: bool = False
    last_message_ms: int | None = None
    """How long ago the member was heard; told only while it matters to the teller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftStatus:
    """`cluster/status` of one member."""

    cid: str = ""
    sid: str = ""
    address: str = ""
    status: str = ""
    """"cluster member", "joining cluster", "left cluster", "disconnected from the cluster (...)", ..."""
    role: str = ""
    """leader, follower or candidate."""
    term: int = 0
    leader: str = ""
    """"self", a member's nickname or "unknown"."""
    election_timer_ms: int = 0
    log_end: int = 0
    members: tuple[Member, ...] = ()

    @property
    def is_leader(self) -> bool:
        """Whether this member leads."""
        return self.role == "leader"

    @property
    def is_serving(self) -> bool:
        """Whether this member takes part in a cluster that has a leader."""
        return self.status == "cluster member" and self.leader not in ("", "unknown")

    @property
    def leader_address(self) -> str:
        """RAFT address of the leader, or "" when none is known."""
        if self.leader == "self":
            return self.address
        return next((member.address for member in self.members if member.nickname == self.leader), "")


def parse_raft_status(text: str) -> RaftStatus:
    """Read the text of `cluster/status`."""
    head: dict[str, str] = {}
    members: list[Member] = []
    in_servers = False
    for line in text.splitlines():
        if in_servers and (match := _SERVER.match(line)):
            heard = _LAST_MESSAGE.search(match[5])
            members.append(
                Member(
                    nickname=match[1],
                    address=match[3],
                    is_self=bool(match[4]),
                    last_message_ms=int(heard[1]) if heard else None,
                )
            )
            continue
        key, _, value = line.partition(":")
        in_servers = key == "Servers"
        head[key] = value.strip()
    return RaftStatus(
        cid=_id(head.get("Cluster ID", "")),
        sid=_id(head.get("Server ID", "")),
        address=head.get("Address", ""),
        status=head.get("Status", ""),
        role=head.get("Role", ""),
        term=int(head.get("Term", "0") or 0),
        leader=head.get("Leader", ""),
        election_timer_ms=_first(_TIMER, head.get("Election timer", "")),
        log_end=_first(_LOG, head.get("Log", ""), group=2),
        members=tuple(members),
    )


def _id(value: str) -> str:
    match = _ID.search(value)
    return match[1] if match else ""


def _first(pattern: re.Pattern[str], value: str, *, group: int = 1) -> int:
    match = pattern.search(value)
    return int(match[group]) if match else 0
