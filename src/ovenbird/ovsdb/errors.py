"""The error tree of the OVSDB client: sorted by what the caller should do next.

    OvsdbError                              details
    +-- NotConnected                        nothing was sent; wait for a connection and try again
    +-- ConnectionLost                      sent, no reply: the OUTCOME IS UNKNOWN; read before writing again
    +-- DeadlineExceeded                    no reply in time: for a transaction the outcome is unknown, too
    +-- WrongCluster, StaleServer, NotLeader  this server must not be used
    +-- SchemaError                         the caller's table, column or value does not fit the server's schema
    +-- ProtocolError                       the peer does not speak OVSDB as we know it
    +-- UnixctlError                        an ovs-appctl command failed
    +-- TransactionError                    the server refused; nothing was changed
        +-- WaitFailed, ConstraintViolation, ReferentialIntegrityViolation, NotOwner,
            PermissionDenied, NotAllowed, DuplicateUuid, Aborted, Canceled

A TransactionError is a definite answer. ConnectionLost and DeadlineExceeded are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class OvsdbError(Exception):
    """Base of everything that this package raises on purpose."""

    def __init__(self, details: str) -> None:
        super().__init__(details)
        self.details = details


class NotConnected(OvsdbError):
    """There is no usable connection; nothing was sent."""


class ConnectionLost(OvsdbError):
    """The connection ended before the reply came; the request may or may not have been executed."""


class DeadlineExceeded(OvsdbError):
    """No answer in time; a request that was already sent may or may not be executed."""


class WrongCluster(OvsdbError):
    """The server belongs to another cluster than the one that was asked for."""


class StaleServer(OvsdbError):
    """The server's log is behind what this client has already seen."""


class NotLeader(OvsdbError):
    """The server is not its cluster's leader, and only the leader will do."""


class SchemaError(OvsdbError):
    """A table, column or value that the server's schema does not have."""


class ProtocolError(OvsdbError):
    """The peer sent something that is not JSON-RPC or not OVSDB."""


class UnixctlError(OvsdbError):
    """A control command was refused by the daemon, or its socket did not answer."""


class TransactionError(OvsdbError):
    """The server refused the transaction; none of its operations took effect (RFC 7047 section 4.1.3)."""

    def __init__(
        self,
        tag: str,
        details: str,
        *,
        operation_index: int | None = None,
        operation: Mapping[str, Any] | None = None,
    ) -> None:
        place = "at commit" if operation_index is None else f"in operation {operation_index}"
        if operation is not None:
            place += f" ({operation.get('op')} {operation.get('table', '')}".rstrip() + ")"
        super().__init__(f"{tag} {place}: {details}")
        self.tag = tag
        self.details = details
        self.operation_index = operation_index
        """Index into the transaction's operations; None when the whole transaction failed at commit."""
        self.operation = operation
        """The operation as it went over the wire; None at commit time."""


class WaitFailed(TransactionError):
    """A `wait` did not hold within its timeout ("timed out")."""


class ConstraintViolation(TransactionError):
    """A value out of range, or a second row with the same index columns."""


class ReferentialIntegrityViolation(TransactionError):
    """A strong reference to a row that does not exist, or deletion of a row that is still referred to."""


class NotOwner(TransactionError):
    """An `assert` named a lock that this connection does not hold."""


class PermissionDenied(TransactionError):
    """The server's role-based access control said no."""


class NotAllowed(TransactionError):
    """The server does not accept writes (a backup, or a read-only remote)."""


class DuplicateUuid(TransactionError):
    """An `insert` named the UUID of a row that exists: an earlier attempt has probably succeeded."""


class Aborted(TransactionError):
    """The transaction holds an `abort` operation."""


class Canceled(TransactionError):
    """The server dropped the request unexecuted (a cancel, or a change of the database under it)."""


_BY_TAG: dict[str, type[TransactionError]] = {
    "timed out": WaitFailed,
    "constraint violation": ConstraintViolation,
    "referential integrity violation": ReferentialIntegrityViolation,
    "not owner": NotOwner,
    "permission error": PermissionDenied,
    "not allowed": NotAllowed,
    "duplicate uuid": DuplicateUuid,
    "aborted": Aborted,
    "canceled": Canceled,
}


def transaction_error(
    error: object, *, operation_index: int | None = None, operation: Mapping[str, Any] | None = None
) -> TransactionError:
    """Make the typed exception for an `<error>` of the server, an object (RFC 7047 section 3.1) or a bare string."""
    if isinstance(error, Mapping):
        tag, details = str(error.get("error", "unknown error")), str(error.get("details", ""))
    else:
        tag, details = str(error), ""
    cls = _BY_TAG.get(tag, TransactionError)
    return cls(tag, details, operation_index=operation_index, operation=operation)
