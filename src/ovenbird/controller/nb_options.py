"""The few keys of NB_Global.options that the cluster's description decides: the timers of the tunnels' BFD.

Other keys of that map are northd's and other people's: they must never be written.
"""

from __future__ import annotations

from ovenbird.model.cluster import Bfd
from ovenbird.ovsdb import Replica, Transaction

TABLE = "NB_Global"


def wanted_options(bfd: Bfd) -> dict[str, str]:
    """Return the keys that are ours and their values (ovn-nb(5), NB_Global, BFD)."""
    return {"bfd-min-rx": str(bfd.min_rx_ms), "bfd-min-tx": str(bfd.min_tx_ms), "bfd-mult": str(bfd.mult)}


def missing_options(replica: Replica, bfd: Bfd) -> dict[str, dict[str, str]]:
    """Return, by row, the pairs that differ. Without a row there is nothing to do: northd makes it when it starts."""
    wanted = wanted_options(bfd)
    found = {}
    for uuid, row in replica.table(TABLE).items():
        if different := {key: value for key, value in wanted.items() if row["options"].get(key) != value}:
            found[uuid] = different
    return found


def write_options(txn: Transaction, options: dict[str, dict[str, str]]) -> None:
    """Write these pairs and nothing else."""
    for uuid, pairs in options.items():
        txn.mutate(TABLE, "options", "delete", frozenset(pairs), uuid=uuid)
        txn.mutate(TABLE, "options", "insert", pairs, uuid=uuid)
