"""Decides how a central host gets its member of a RAFT database: create, join, serve, wait or refuse.

The one mistake that cannot be taken back is a second cluster. So a database is created only by the one host that
holds the permission, only when *every* other central host was asked, said that it serves nothing, and said so more
than once; a host that does not answer is unknown, not empty. Pure: what was seen comes in as values.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ovenbird.model.cluster import Database

CONFIRMATIONS = 2
"""Times in a row that all peers must be seen without a database before one is created."""


class PeerAnswer(Enum):
    """What asking another central host for its member of the database brought."""

    CLUSTER = "cluster"
    """It serves a member and told the cluster id."""
    NO_SERVER = "no server"
    """The host answered that nobody listens there."""
    UNKNOWN = "unknown"
    """No answer, or one that says nothing about a cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another central host, as seen from here."""

    name: str
    raft_remote: str
    """Where its member listens for members, e.g. `tcp:10.0.0.2:6643`."""
    answer: PeerAnswer
    cid: str = ""
    """Cluster id, with `PeerAnswer.CLUSTER`."""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseFile:
    """A database file that lies on this host. A value that could not be read is ""."""

    path: str
    name: str
    """Name of the schema."""
    clustered: bool
    raft_remote: str = ""
    """This member's address as the file has it; it cannot be changed (ovsdb(7), "How to Maintain")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Everything the decision depends on."""

    database: Database
    raft_remote: str
    """This host's address for members as the cluster description has it."""
    file: DatabaseFile | None
    permitted: bool
    """Whether this host may create the databases."""
    peers: tuple[Peer, ...]
    """Empty when there is a file: nobody needs to be asked."""
    seen_alike: int = 1
    """How many times in a row the peers gave these answers."""


@dataclass(frozen=True, slots=True)
class Serve:
    """Start the server on the file that is there."""


@dataclass(frozen=True, slots=True)
class Create:
    """Create the database: this host is the first member."""


@dataclass(frozen=True, slots=True)
class Join:
    """Join the cluster of that id through these members."""

    cid: str
    remotes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again soon."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """A person must decide."""

    code: str
    reason: str
    hint: str


Decision = Serve | Create | Join | Wait | Refuse


def decide(seen: Observation) -> Decision:
    """Return what to do next for one database of one central host."""
    if seen.file is not None:
        return _with_file(seen, seen.file)
    cids = sorted({peer.cid for peer in seen.peers if peer.answer is PeerAnswer.CLUSTER})
    if len(cids) > 1:
        told = ", ".join(f"{peer.name}: {peer.cid}" for peer in seen.peers if peer.answer is PeerAnswer.CLUSTER)
        return Refuse(
            "two_clusters",
            f"{seen.database.value}: the other central hosts belong to different clusters ({told})",
            "stop the servers of the wrong cluster and move their database files aside",
        )
    if cids:
        return Join(cids[0], _best_first(seen.peers))
    return _without_cluster(seen)


def _with_file(seen: Observation, file: DatabaseFile) -> Decision:
    if not file.clustered:
        return Refuse(
            "standalone_file",
            f"{file.path} is not a file of a clustered database",
            "move it aside; to keep its content, create the cluster from it with ovsdb-tool create-cluster",
        )
    if file.name and file.name != seen.database.value:
        return Refuse(
            "foreign_file",
            f"{file.path} holds the database {file.name}, not {seen.database.value}",
            "put the right file in place",
        )
    if file.raft_remote and file.raft_remote != seen.raft_remote:
        return Refuse(
            "address_changed",
            f"{file.path} belongs to the member {file.raft_remote}, but this host's member is {seen.raft_remote}",
            "a member cannot change its address: correct cluster.yaml, or remove the member and join as a new one",
        )
    return Serve()


def _without_cluster(seen: Observation) -> Decision:
    unknown = [f"{peer.name} ({peer.detail})" for peer in seen.peers if peer.answer is PeerAnswer.UNKNOWN]
    if not seen.permitted:
        asked = f"; could not ask {', '.join(unknown)}" if unknown else ""
        return Wait(f"no central host has a cluster yet, and this host may not create one{asked}")
    if unknown:
        return Wait(f"may create the cluster, but cannot rule out that one exists: could not ask {', '.join(unknown)}")
    if seen.peers and seen.seen_alike < CONFIRMATIONS:
        return Wait("may create the cluster; asking the other central hosts once more")
    return Create()


def _best_first(peers: tuple[Peer, ...]) -> tuple[str, ...]:
    """Members that told the cluster id first; the rest may become members meanwhile."""
    ordered = sorted(peers, key=lambda peer: peer.answer is not PeerAnswer.CLUSTER)
    return tuple(peer.raft_remote for peer in ordered)
