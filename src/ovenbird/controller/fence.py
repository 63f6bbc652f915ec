"""The fence: the operations on our control row in NB that make a leader and that begin every transaction of one.

They must be in *every* NB transaction of ours: a lock says who should act, only these decide who can.
"""

from __future__ import annotations

from ovenbird.controller.records import CLUSTER_UUID
from ovenbird.ovsdb import Canceled, OvsdbError, Transaction, TransactionError
from ovenbird.plan.election import CONTROL_NAME, CONTROL_TABLE, CONTROL_UUID, EPOCH, Claim, Control
from ovenbird.plan.pulse import Pulse

FENCE_INDEX = 0
"""Index of the fence among a leader's operations."""
PULSE_TABLE = "Pulse"
"""Its only row is the heartbeat of who claimed last. A database that an older version has made has no such table."""


def raise_epoch(claim: Claim, holder: str, *, beats: bool, taken: str = "") -> Transaction:
    """Return the transaction that makes this candidate the holder in the Ovenbird database.

    One that robs fails if the heartbeat has moved. `beats`: whether there is a place for heartbeats.
    """
    txn = begin_in_store(claim.store_epoch, f"{holder} claims epoch {claim.epoch}")
    if claim.robbed is not None:
        _while_still(txn, claim.robbed)
    txn.update("Cluster", {"epoch": claim.epoch, "holder": holder}, uuid=CLUSTER_UUID)
    if beats:
        txn.delete(PULSE_TABLE, where=[])
        txn.insert(PULSE_TABLE, {"epoch": claim.epoch, "holder": holder, "beat": 0, "taken": taken})
    return txn


def beat_in_store(epoch: int, beat: int) -> Transaction:
    """Return the transaction of a leader's heartbeat; it fails when this epoch is over."""
    txn = begin_in_store(epoch, "heartbeat")
    txn.update(PULSE_TABLE, {"beat": beat}, where=[("epoch", "==", epoch)])
    return txn


def doubt_in_store(pulse: Pulse, name: str) -> Transaction:
    """Return the transaction by which a candidate finds out whether the database takes writes at all.

    It fails if the heartbeat has moved. It changes a row, for else no other member would be asked.
    """
    txn = begin_in_store(pulse.epoch, f"{name} doubts {pulse.holder}")
    _while_still(txn, pulse)
    txn.mutate(PULSE_TABLE, "doubts", "+=", 1, where=[])
    return txn


def _while_still(txn: Transaction, pulse: Pulse) -> None:
    row = {"epoch": pulse.epoch, "beat": pulse.beat}
    txn.wait(PULSE_TABLE, where=[], columns=tuple(row), rows=(row,))


def claim_nb(claim: Claim, holder: str) -> tuple[Transaction, Control]:
    """Return the transaction that raises the epoch in NB if our row is still as it was seen, and what it then says."""
    txn = Transaction(f"{holder} claims epoch {claim.epoch}")
    control = Control(epoch=claim.epoch, holder=holder, revision=claim.nb.revision, beat=claim.nb.beat + 1)
    row = {"name": CONTROL_NAME, "external_ids": control.external_ids()}
    if claim.nb.seen is None:
        # Of two candidates that both see no row only one can insert this UUID.
        txn.insert(CONTROL_TABLE, row, uuid=CONTROL_UUID)
        return txn, control
    txn.wait(
        CONTROL_TABLE,
        where=[("_uuid", "==", CONTROL_UUID)],
        columns=("external_ids",),
        rows=({"external_ids": dict(claim.nb.seen)},),
    )
    txn.update(CONTROL_TABLE, row, uuid=CONTROL_UUID)
    return txn, control


def begin_fenced(epoch: int, comment: str) -> Transaction:
    """Return a transaction that fails as a whole unless this epoch is the one in NB."""
    txn = Transaction(comment)
    txn.wait_exists(CONTROL_TABLE, uuid=CONTROL_UUID, where=[("external_ids", "includes", {EPOCH: str(epoch)})])
    return txn


def begin_in_store(epoch: int | None, comment: str) -> Transaction:
    """Return a transaction that fails as a whole unless this epoch is the one in the Ovenbird database."""
    txn = Transaction(comment)
    txn.wait_exists("Cluster", uuid=CLUSTER_UUID, where=[("epoch", "==", epoch)])
    return txn


def stamp(txn: Transaction, control: Control) -> None:
    """Write our row along: which revision NB then holds, and a beat, so that the commit is a round trip of RAFT."""
    txn.update(CONTROL_TABLE, {"external_ids": control.external_ids()}, uuid=CONTROL_UUID)


def is_passing(error: OvsdbError) -> bool:
    """Whether a refusal says nothing about the transaction itself: an election of RAFT came between, or a cancel."""
    return isinstance(error, Canceled) or (isinstance(error, TransactionError) and error.tag == "cluster error")
