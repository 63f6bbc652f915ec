"""When each acknowledged write was in NB: pure arithmetic on a run's record.

An acknowledgement says that the Ovenbird database has a write; networks follow NB. The acting controller writes along
which declared revision NB then holds, and the observers saw that row change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ovenbird.drill.outage import NS_PER_MS, Record
from ovenbird.drill.record import EPOCH_CHANGED, Event, Write

NAME = "nb"


def commits(writes: Sequence[Write], timeline: Iterable[Event]) -> Record:
    """Return the acknowledged writes as a stream: sent to the API, received when NB was first seen to hold them."""
    seen = sorted((event.at_ns, int(event.data["revision"])) for event in timeline if event.kind == EPOCH_CHANGED)
    acked = sorted((write for write in writes if write.revision is not None), key=lambda write: write.revision or 0)
    received: list[tuple[int, int]] = []
    waiting = iter(acked)
    write = next(waiting, None)
    for at_ns, revision in seen:
        while write is not None and (write.revision or 0) <= revision:
            received.append((write.number, max(at_ns, write.sent_ns)))
            write = next(waiting, None)
    spacing_ns = (writes[-1].sent_ns - writes[0].sent_ns) / (len(writes) - 1) if len(writes) > 1 else 0
    return Record(
        name=NAME,
        interval_ms=spacing_ns / NS_PER_MS,
        sent=[(write.number, write.sent_ns) for write in writes if write.revision is not None],
        received=sorted(received, key=lambda pair: pair[1]),
        kind="nb",
    )
