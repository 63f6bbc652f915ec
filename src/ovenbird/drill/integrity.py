"""Tells whether a saved run still holds what was recorded: nothing may be dropped on the way to the folder.

A record that lost an acknowledged write would hide exactly the fault that a drill looks for. So the totals of a record
are taken by this module alone, kept in totals.json, and taken again from the files at every load. A write that was
dropped before that leaves a hole in the writes' numbers. This module must never read a clock or a file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from ovenbird.drill.record import RunRecord

DIGEST_LENGTH = 32
"""Hexadecimal digits: against mistakes, not against forgers."""


def totals(record: RunRecord) -> dict[str, Any]:
    """Return how much a record holds, and a digest of each part, as totals.json keeps it."""
    return {
        "writes": {
            "sent": len(record.writes),
            "acked": sum(write.outcome == "acked" for write in record.writes),
            "digest": digest(asdict(write) for write in record.writes),
        },
        "events": {"count": len(record.timeline), "digest": digest(asdict(event) for event in record.timeline)},
        "streams": {
            stream.name: {
                "sent": len(stream.sent),
                "received": len(stream.received),
                "digest": digest([list(stream.sent), list(stream.received), list(stream.breaks)]),
            }
            for stream in record.streams
        },
        "final": {"digest": digest([asdict(record.final)])},
    }


def differences(kept: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Return what is in the folder otherwise than was recorded; nothing means that it is whole."""
    wrong = []
    before, now = kept.get("writes", {}), found["writes"]
    for key, noun in (("sent", "writes"), ("acked", "acknowledged writes")):
        if before.get(key) != now[key]:
            wrong.append(f"{before.get(key)} {noun} were recorded, the folder holds {now[key]}")
    if not wrong and before.get("digest") != now["digest"]:
        wrong.append("the writes differ from what was recorded")
    wrong += _part("events", kept.get("events", {}), found["events"], "count")
    there, recorded = found["streams"], kept.get("streams", {})
    wrong += [f"the stream {name} is missing" for name in recorded if name not in there]
    wrong += [f"the stream {name} was not recorded" for name in there if name not in recorded]
    for name in recorded:
        if name in there:
            wrong += _part(f"packets of {name}", recorded[name], there[name], "received")
    if kept.get("final") != found["final"]:
        wrong.append("final.json differs from what was recorded")
    return wrong


def flaws(record: RunRecord) -> list[str]:
    """Return why a record cannot be whole by itself: the writer's own count is another, or numbers are missing."""
    numbers = sorted(write.number for write in record.writes)
    found = _counted(record)
    if numbers == list(range(1, len(numbers) + 1)):
        return found
    missing = sorted(set(range(1, max(numbers) + 1)) - set(numbers))
    if missing:
        listed = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        return [*found, f"the record lacks {len(missing)} writes (numbers {listed}): it cannot show a lost write"]
    return [*found, "the record has two writes of one number: it cannot show a doubled write"]


def _counted(record: RunRecord) -> list[str]:
    """Compare the record with what the writer counted by itself: also the last write must not be dropped."""
    acked = sum(write.outcome == "acked" for write in record.writes)
    pairs = (
        ("sent", len(record.writes), record.meta.writes_sent),
        ("had acknowledged", acked, record.meta.writes_acked),
    )
    return [
        f"the writer {verb} {counted} writes, the record has {there}: it cannot show a lost write"
        for verb, there, counted in pairs
        if counted is not None and counted != there
    ]


def digest(items: Iterable[Any]) -> str:
    """Return a digest of JSON values; tuples count as lists."""
    summed = hashlib.sha256()
    for item in items:
        summed.update(json.dumps(item, sort_keys=True, separators=(",", ":")).encode())
        summed.update(b"\n")
    return summed.hexdigest()[:DIGEST_LENGTH]


def _part(noun: str, before: Mapping[str, Any], now: Mapping[str, Any], count: str) -> list[str]:
    if before.get(count) != now[count]:
        return [f"{before.get(count)} {noun} were recorded, the folder holds {now[count]}"]
    return [] if before.get("digest") == now["digest"] else [f"the {noun} differ from what was recorded"]
