"""One whole cluster for every test of this folder: brought up once, whole again after each test that breaks it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from tests.lab.cluster.site import DECLARED, HOME, LAB_FILE, Site
from tests.lab.test_life import machine
from tests.waiting import eventually_sync

from ovenbird.lab.faults import heal
from ovenbird.lab.lab import Lab, remove
from ovenbird.lab.readiness import wait_ready
from ovenbird.lab.spec import from_yaml


@pytest.fixture(scope="session")
def whole() -> Iterator[Site]:
    """The cluster, with the network declared and the workloads attached. At the end nothing of it is left."""
    name = f"cluster-{os.getpid()}"
    before = machine()
    try:
        site = Site(Lab.create(from_yaml(LAB_FILE, name=name)))
        wait_ready(site.lab, timeout_s=60, progress=lambda _line: None)
        site.apply(DECLARED)
        for port, node in HOME.items():
            site.api.post(
                "/v1/attachments", {"port": port, "node": node, "spec": {"type": "namespace", "address": "dhcp"}}
            )
        site.settled()
        yield site
        processes = [
            process
            for node in (*site.lab.nodes.values(), site.lab.outside, site.lab.fabric)
            for process in node.processes()
        ]
    finally:
        remove(name)
    assert len(processes) > len(site.lab.nodes) * 3
    eventually_sync(lambda: not [process for process in processes if process.is_alive], within_s=5)
    assert not site.lab.file.directory.exists()
    assert machine() == before


@pytest.fixture
def site(whole: Site) -> Site:
    """The cluster, for a test that only looks."""
    return whole


@pytest.fixture
def breakable(whole: Site) -> Iterator[Site]:
    """The cluster, for a test that breaks it: faults are healed and it is healthy again before the next test."""
    yield whole
    heal(whole.lab)
    whole.lab.up()
    whole.forgiven()
    whole.settled(within_s=60)
    eventually_sync(whole.is_at_home, within_s=60)
