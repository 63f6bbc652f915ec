"""What damage does to the bytes of a database's log."""

from __future__ import annotations

import hashlib

import pytest

from ovenbird.lab.faults.database_file import damaged


def log(*records: bytes) -> bytes:
    """A file as ovsdb(5) has it: each record has a header with its length and SHA-1."""
    return b"".join(
        b"OVSDB CLUSTER %d %s\n" % (len(record), hashlib.sha1(record).hexdigest().encode()) + record
        for record in records
    )


RECORDS = [b'{"header": 1}\n', b'{"snapshot": 2}\n', b'{"index": 3}\n', b'{"index": 4}\n', b'{"term": 5}\n']
WHOLE = log(*RECORDS)


def test_an_old_copy_is_the_log_without_its_last_records() -> None:
    assert damaged(WHOLE, "old-copy", 2) == log(*RECORDS[:3])


def test_an_old_copy_never_reaches_back_before_the_beginning() -> None:
    assert damaged(WHOLE, "old-copy", 3) == log(*RECORDS[:2])
    with pytest.raises(ValueError, match="only 5 records"):
        damaged(WHOLE, "old-copy", 4)


def test_records_are_told_by_their_length_not_by_their_text() -> None:
    tricky = log(*RECORDS[:3], WHOLE, b"{}\n")
    assert damaged(tricky, "old-copy", 1) == log(*RECORDS[:3], WHOLE)


def test_truncation_takes_bytes_off_the_end() -> None:
    assert damaged(WHOLE, "truncate", 0) == WHOLE[:-7]
    assert damaged(WHOLE, "truncate", 1) == WHOLE[:-1]
    with pytest.raises(ValueError, match="only"):
        damaged(WHOLE, "truncate", len(WHOLE))


def test_a_bit_flip_changes_one_bit() -> None:
    flipped = damaged(WHOLE, "bit-flip", 30)
    assert flipped is not None
    assert len(flipped) == len(WHOLE)
    assert [(a ^ b).bit_count() for a, b in zip(flipped, WHOLE, strict=True) if a != b] == [1]


def test_empty_and_lost() -> None:
    assert damaged(WHOLE, "empty", 0) == b""
    assert damaged(WHOLE, "lose", 0) is None
