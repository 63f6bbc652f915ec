"""An asyncio OVSDB client (RFC 7047 and the `_since` extensions) that knows nothing of Ovenbird.

    async with Client("OVN_Northbound", ["tcp:192.0.2.1:6641", "tcp:192.0.2.2:6641"]) as client:
        await client.wait_connected(timeout_s=5)
        async with Replica(client, {"Logical_Switch": ["name", "ports"]}) as replica:
            await replica.ready(timeout_s=30)
            txn = Transaction("why this is done")
            txn.insert("Logical_Switch", {"name": "blue"})
            await client.transact(txn)

Needs OVS 2.13 or later on the server for inserts (the client chooses row UUIDs).
"""

from ovenbird.ovsdb.backoff import Backoff
from ovenbird.ovsdb.changes import Change, ChangeSet
from ovenbird.ovsdb.client import Client, ConnectionState
from ovenbird.ovsdb.collector import BulkLoad
from ovenbird.ovsdb.connection import CallError
from ovenbird.ovsdb.errors import (
    Aborted,
    Canceled,
    ConnectionLost,
    ConstraintViolation,
    DeadlineExceeded,
    DuplicateUuid,
    NotAllowed,
    NotConnected,
    NotLeader,
    NotOwner,
    OvsdbError,
    PermissionDenied,
    ProtocolError,
    ReferentialIntegrityViolation,
    SchemaError,
    StaleServer,
    TransactionError,
    UnixctlError,
    WaitFailed,
    WrongCluster,
)
from ovenbird.ovsdb.lock import Lock
from ovenbird.ovsdb.remotes import Remote, RemoteError, Tls, parse_remote
from ovenbird.ovsdb.replica import Replica
from ovenbird.ovsdb.rows import Row
from ovenbird.ovsdb.schema import ColumnType, Schema, TableSchema, parse_schema
from ovenbird.ovsdb.server import ServerDatabase, ServerInfo, probe_server
from ovenbird.ovsdb.transaction import Condition, Prepared, Result, Transaction
from ovenbird.ovsdb.unixctl import AppCtl, unixctl

__all__ = [
    "Aborted",
    "AppCtl",
    "Backoff",
    "BulkLoad",
    "CallError",
    "Canceled",
    "Change",
    "ChangeSet",
    "Client",
    "ColumnType",
    "Condition",
    "ConnectionLost",
    "ConnectionState",
    "ConstraintViolation",
    "DeadlineExceeded",
    "DuplicateUuid",
    "Lock",
    "NotAllowed",
    "NotConnected",
    "NotLeader",
    "NotOwner",
    "OvsdbError",
    "PermissionDenied",
    "Prepared",
    "ProtocolError",
    "ReferentialIntegrityViolation",
    "Remote",
    "RemoteError",
    "Replica",
    "Result",
    "Row",
    "Schema",
    "SchemaError",
    "ServerDatabase",
    "ServerInfo",
    "StaleServer",
    "TableSchema",
    "Tls",
    "Transaction",
    "TransactionError",
    "UnixctlError",
    "WaitFailed",
    "WrongCluster",
    "parse_remote",
    "parse_schema",
    "probe_server",
    "unixctl",
]
