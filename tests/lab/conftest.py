"""Labs for tests: bare ones (no agents), small, under a name of this test run."""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.waiting import eventually_sync

from ovenbird.lab.faults import heal
from ovenbird.lab.lab import Lab, remove
from ovenbird.lab.node import Node
from ovenbird.lab.process import Process
from ovenbird.lab.spec import LabSpec, sized

_numbers = itertools.count(1)


def unique_name() -> str:
    return f"test-{os.getpid()}-{next(_numbers)}"


def small(name: str) -> LabSpec:
    """One node of each role: c1, g1, n1."""
    return sized(name, central=1, gateways=1, computes=1)


def hold_pid_file(node: Node, name: str) -> Process:
    """Start a daemon in the node that locks its pid file for life, as Open vSwitch's do."""
    script = (
        f"import fcntl,os,time; f=open('/run/ovn/{name}.pid','w'); fcntl.lockf(f,fcntl.LOCK_EX);"
        "f.write(str(os.getpid())); f.flush(); time.sleep(600)"
    )
    shell = f"mkdir -p /run/ovn; setsid python3 -c {shlex.quote(script)} < /dev/null > /dev/null 2>&1 &"
    node.run(["sh", "-c", shell], timeout_s=10).checked()
    found = eventually_sync(lambda: node.pids().get(name), within_s=10)
    assert isinstance(found, Process)
    return found


@pytest.fixture(scope="module")
def shared_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A bare lab that the tests of a module share."""
    name = unique_name()
    root = tmp_path_factory.mktemp("labs")
    try:
        yield Lab.create(small(name), agents=False, root=root)
    finally:
        remove(name, root=root)


@pytest.fixture
def lab(shared_lab: Lab) -> Iterator[Lab]:
    """The shared lab, whole again after each test."""
    yield shared_lab
    heal(shared_lab)
    shared_lab.up()


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A place for labs that a test makes itself; taken away whatever happens."""
    place = tmp_path / "labs"
    yield place
    for path in sorted(place.glob("*")):
        remove(path.name, root=place)
