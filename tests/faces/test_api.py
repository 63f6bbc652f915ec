"""The HTTP API over a real unix socket, on real databases: answers, refusals, limits, life and death of the socket."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import socket
import stat
import subprocess
from pathlib import Path

import pytest
from tests.waiting import eventually, eventually_sync

from ovenbird.api.boundary import MAX_BODY_BYTES, http_status
from ovenbird.api.client import Client
from ovenbird.api.server import listen, serve
from ovenbird.controller.service import ControllerService
from ovenbird.model.cluster import Database
from ovenbird.model.errors import Bug, Degraded, Down, OvenbirdError, Refused, Timeout, Unavailable, UserError
from ovenbird.model.schema import json_schema

NETWORK = """\
kind: Network
name: blue
spec: {cidr: 192.168.1.0/24}
---
kind: Port
name: vm1
spec: {network: blue, address: 192.168.1.11}
"""


def files(*texts):
    return [{"file": f"{number}.yaml", "text": text} for number, text in enumerate(texts, 1)]


def raw(path: Path, request: bytes) -> tuple[int, dict]:
    """Send bytes as they are; return the answer's status and JSON."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(path))
        connection.sendall(request)
        response = http.client.HTTPResponse(connection)
        response.begin()
        return response.status, json.loads(response.read())


def ask(path: Path, method: str, target: str, body: bytes = b"") -> tuple[int, dict]:
    head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return raw(path, head.encode() + body)


def names(api: Client) -> set[str]:
    return {f"{one['kind']}/{one['name']}" for one in api.get("/v1/objects")["objects"]}


def test_apply_declares_and_tells_what_changed(api):
    before = api.get("/v1/objects")["revision"]
    answer = api.post("/v1/apply", {"documents": files(NETWORK)})
    assert answer["revision"] == before + 1
    assert [(one["kind"], one["name"], one["action"]) for one in answer["changes"]] == [
        ("Network", "blue", "create"),
        ("Port", "vm1", "create"),
    ]
    assert answer["changes"][1]["fields"]["address"] == [None, "192.168.1.11"]
    again = api.post("/v1/apply", {"documents": files(NETWORK)})
    assert {one["action"] for one in again["changes"]} == {"unchanged"}
    assert again["revision"] == before + 1


def test_a_dry_run_tells_the_same_and_changes_nothing(api):
    planned = api.post("/v1/apply", {"documents": files(NETWORK), "dry_run": True})
    assert names(api) == set()
    done = api.post("/v1/apply", {"documents": files(NETWORK)})
    assert planned["changes"] == done["changes"]


def test_several_files_are_one_change(api):
    good, bad = NETWORK, "kind: Port\nname: lost\nspec: {network: nowhere}\n"
    with pytest.raises(UserError) as caught:
        api.post("/v1/apply", {"documents": files(good, bad)})
    assert [(problem.file, problem.name) for problem in caught.value.problems] == [("2.yaml", "lost")]
    assert names(api) == set()


def test_the_problems_of_all_files_come_at_once(api):
    with pytest.raises(UserError) as caught:
        api.post("/v1/apply", {"documents": files("kind: Nope\nname: a\n", "kind: [", NETWORK)})
    assert {problem.file for problem in caught.value.problems} == {"1.yaml", "2.yaml"}


def test_objects_are_listed_by_kind_and_shown_with_their_users_and_rows(api):
    api.post("/v1/apply", {"documents": files(NETWORK)})
    ports = api.get("/v1/objects", query={"kind": "Port"})["objects"]
    assert [(one["name"], one["spec"]["network"], one["assigned"]["address"]) for one in ports] == [
        ("vm1", "blue", "192.168.1.11")
    ]
    described = eventually_sync(
        lambda: (one := api.get("/v1/objects/Network/blue"))["realised"]["nb"] and one, within_s=10
    )
    assert described["used_by"] == ["Port/vm1"]
    assert "Logical_Switch" in {row["table"] for row in described["rows"]}


def test_deleting_what_is_in_use_is_refused_and_says_by_what(api):
    api.post("/v1/apply", {"documents": files(NETWORK)})
    with pytest.raises(Refused) as caught:
        api.post("/v1/delete", {"objects": [{"kind": "Network", "name": "blue"}]})
    assert "Port/vm1" in caught.value.problems[0].message
    assert names(api) == {"Network/blue", "Port/vm1"}
    api.post("/v1/delete", {"documents": files(NETWORK)})
    assert names(api) == set()


def test_attachments_are_wanted_listed_and_taken_back(api):
    api.post("/v1/apply", {"documents": files(NETWORK)})
    wanted = {"port": "vm1", "node": "n1", "spec": {"type": "namespace", "address": "dhcp"}}
    assert api.post("/v1/attachments", wanted)["node"] == "n1"
    assert [one["port"] for one in api.get("/v1/attachments")["attachments"]] == ["vm1"]
    with pytest.raises(Refused):
        api.post("/v1/attachments", {**wanted, "node": "g1"})
    with pytest.raises(Refused):
        api.post("/v1/delete", {"objects": [{"kind": "Port", "name": "vm1"}]})
    assert api.delete("/v1/attachments/vm1") == {}
    assert api.get("/v1/attachments")["attachments"] == []


def test_waiting_ends_at_its_deadline_and_names_the_culprit(api):
    """There is no northd here, so nothing is ever realised."""
    answer = api.post("/v1/wait", {"timeout_s": 0.3})
    assert answer["state"] == "lagging"
    assert "northd" in answer["detail"]


def test_the_schema_is_served(api):
    assert api.get("/v1/schema") == json_schema()


@pytest.mark.parametrize(
    ("request_line", "body", "status", "code"),
    [
        ("GET /v1/nothing", b"", 404, "not_found"),
        ("GET /v1/objects/Network/none", b"", 404, "not_found"),
        ("GET /v1/objects/Nope/none", b"", 422, "unknown_kind"),
        ("GET /v1/objects?kind=Nope", b"", 422, "unknown_kind"),
        ("DELETE /v1/attachments/none", b"", 404, "not_found"),
        ("DELETE /v1/objects", b"", 405, "bad_request"),
        ("POST /v1/apply", b"", 400, "bad_request"),
        ("POST /v1/apply", b"{", 400, "bad_request"),
        ("POST /v1/apply", b"[]", 400, "bad_request"),
        ("POST /v1/apply", b"{}", 400, "bad_request"),
        ("POST /v1/apply", b'{"documents": "text"}', 400, "bad_request"),
        ("POST /v1/apply", b'{"documents": ["text"]}', 400, "bad_request"),
        ("POST /v1/apply", b'{"documents": [], "dry_run": "no"}', 400, "bad_request"),
        ("POST /v1/apply", b'{"documents": [], "dry_run": 1}', 400, "bad_request"),
        ("POST /v1/apply", b'{"documents": [{"text": "kind: ["}]}', 422, "bad_input"),
        ("POST /v1/delete", b'{"objects": [{"kind": "Nope", "name": "a"}]}', 400, "bad_request"),
        ("POST /v1/delete", b'{"objects": [{"kind": "Port", "name": "a"}]}', 404, "not_found"),
        ("POST /v1/wait", b'{"timeout_s": -1}', 400, "bad_request"),
        ("POST /v1/wait", b'{"timeout_s": true}', 400, "bad_request"),
        ("POST /v1/wait", b'{"revision": "1"}', 400, "bad_request"),
        ("POST /v1/attachments", b'{"port": "a"}', 400, "bad_request"),
        ("POST /v1/attachments", b'{"port": "a", "node": "n1"}', 404, "not_found"),
    ],
)
def test_refusals_have_their_status_and_code(tier, request_line, body, status, code):
    got, answer = ask(tier.socket(), *request_line.split(), body)
    assert (got, answer["error"]["code"]) == (status, code)
    assert set(answer["error"]) == {"code", "message", "subject", "evidence", "hint", "exit_status", "problems"}


def test_a_request_that_is_too_large_is_refused_before_it_is_read_whole(tier):
    head = f"POST /v1/apply HTTP/1.1\r\nHost: x\r\nContent-Length: {10 * MAX_BODY_BYTES}\r\nConnection: close\r\n\r\n"
    status, answer = raw(tier.socket(), head.encode() + b"x" * (MAX_BODY_BYTES + 1))
    assert (status, answer["error"]["code"]) == (400, "bad_request")
    assert "MiB" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UserError("x"), 422),
        (UserError("x", code="not_found"), 404),
        (UserError("x", code="bad_request"), 400),
        (Refused("x"), 409),
        (Degraded("x"), 503),
        (Down("x"), 503),
        (Unavailable("x"), 503),
        (Bug("x"), 500),
        (Timeout("x"), 504),
        (OvenbirdError("x"), 503),
    ],
)
def test_every_error_has_an_http_status(error, status):
    assert http_status(error) == status


def test_a_bug_is_answered_with_an_id_that_the_log_has(running, monkeypatch, caplog):
    async def broken(_self):
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("ovenbird.api.status.StatusReporter.report", broken)
    status, answer = ask(running.socket(), "GET", "/v1/status")
    assert (status, answer["error"]["code"], answer["error"]["exit_status"]) == (500, "bug", 70)
    assert "secret detail" not in json.dumps(answer)
    number = answer["error"]["evidence"].removeprefix("id ")
    [record] = [record for record in caplog.records if number in record.getMessage()]
    assert record.exc_info is not None


def test_the_socket_is_for_its_owner_and_group_only(running):
    mode = running.socket().stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o660


def test_a_stale_socket_file_is_replaced_and_a_living_one_is_not(tmp_path):
    path = tmp_path / "api.sock"
    listen(path).close()
    assert path.exists()
    with listen(path), pytest.raises(Refused):
        listen(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["api.sock"]


def test_the_api_ends_and_comes_back_with_its_agent(running):
    running.stop_api()
    assert not running.socket().exists()
    with pytest.raises(Unavailable):
        Client([running.socket()]).get("/v1/objects")
    running.start_api()
    assert "revision" in Client([running.socket()]).get("/v1/objects")


async def test_serving_leaves_signals_to_the_agent(running, tmp_path):
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    path = tmp_path / "second.sock"
    async with ControllerService(running.cluster, "c1") as service:
        serving = asyncio.create_task(serve(service, socket_path=path, layout=running.layout("c1")))
        status, _ = await eventually(
            lambda: path.exists() and asyncio.to_thread(ask, path, "GET", "/v1/schema"), within_s=10
        )
        assert status == 200
        assert {number: signal.getsignal(number) for number in before} == before
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
    assert not path.exists()


def test_a_foreign_hand_in_nb_is_undone_and_shown_as_drift(api, tier):
    api.post("/v1/apply", {"documents": files(NETWORK)})
    nb = f"unix:{tier.layout('c1').database_run(Database.NB)}.sock"

    def nbctl(*words: str) -> str:
        command = ["ovn-nbctl", f"--db={nb}", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout

    eventually_sync(lambda: "vm1" in nbctl("show"), within_s=10)
    nbctl("lsp-del", "vm1")
    [drift] = eventually_sync(lambda: (seen := api.get("/v1/status"))["drift"] and seen["drift"][-1:], within_s=10)
    assert "Port/vm1" in drift["detail"]
    assert "vm1" in nbctl("show")


def test_what_cannot_be_realised_is_a_problem_with_its_object(api, tier):
    """Somebody else's switch has the name already: it is not touched, and the object is named."""
    nb = f"unix:{tier.layout('c1').database_run(Database.NB)}.sock"
    nbctl = ["ovn-nbctl", f"--db={nb}"]
    subprocess.run([*nbctl, "ls-add", "foreign", "--", "lsp-add", "foreign", "vm1"], timeout=10, check=True)
    try:
        api.post("/v1/apply", {"documents": files(NETWORK)})
        [problem] = eventually_sync(lambda: api.get("/v1/status")["problems"], within_s=10)
        assert problem["subject"] == "Port/vm1"
        described = api.get("/v1/objects/Port/vm1")
        assert described["realised"]["nb"] is False
        assert described["problems"][0]["detail"] == problem["detail"]
    finally:
        subprocess.run([*nbctl, "ls-del", "foreign"], timeout=10, check=True)
