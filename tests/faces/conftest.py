"""One central tier of one host for all tests that only need a working API; each test finds nothing declared."""

from __future__ import annotations

import pytest
from tests.faces.central import Central, central

from ovenbird.api.client import Client

DEPENDENTS_FIRST = ("FloatingIP", "Port", "Network", "Router", "ExternalNetwork")


@pytest.fixture(scope="session")
def running(tmp_path_factory):
    """A central tier with one host and its API."""
    with central(tmp_path_factory.mktemp("central")) as tier:
        yield tier


@pytest.fixture
def tier(running: Central):
    """That tier, with nothing declared."""
    client = Client([running.socket()])
    for attachment in client.get("/v1/attachments")["attachments"]:
        client.delete(f"/v1/attachments/{attachment['port']}")
    declared = [{"kind": one["kind"], "name": one["name"]} for one in client.get("/v1/objects")["objects"]]
    client.post("/v1/delete", {"objects": declared})
    return running


@pytest.fixture
def api(tier: Central) -> Client:
    """A client of that tier's API."""
    return Client([tier.socket()])
