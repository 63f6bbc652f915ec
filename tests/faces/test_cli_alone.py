"""The CLI without any server: usage, help, completion, and being unable to ask."""

from __future__ import annotations

import importlib
import json
import os
import socket
import subprocess
import sys
import threading

import click
import pytest
import yaml
from tests.faces.command import PROGRAM, ovenbird

from ovenbird.cli.kinds import ALIASES, kind_of
from ovenbird.cli.main import LazyGroup, cli
from ovenbird.cli.output import table
from ovenbird.model.errors import UserError
from ovenbird.model.objects import KINDS
from ovenbird.model.schema import json_schema

OURS = [name for name in LazyGroup.TABLE if name not in ("lab", "drill", "agent")]


def commands(group: click.Group, ctx: click.Context):
    """Yield every command below a group."""
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        yield command
        if isinstance(command, click.Group):
            yield from commands(command, ctx)


def test_help_lists_every_command_and_the_exit_codes():
    done = ovenbird("--help")
    assert done.status == 0
    for name, (_, text) in LazyGroup.TABLE.items():
        assert f"  {name} " in done.out
        assert text in done.out
    for code in ("2 ", "3 ", "4 ", "5 ", "69 ", "70 ", "75 "):
        assert f"\n    {code}" in done.out


@pytest.mark.parametrize("name", OURS)
def test_the_table_says_of_each_command_what_the_command_says_of_itself(name):
    where, text = LazyGroup.TABLE[name]
    module, attribute = where.split(":")
    command = getattr(importlib.import_module(module), attribute)
    assert command.help.splitlines()[0] == text


@pytest.mark.parametrize("name", OURS)
def test_every_help_has_an_example(name):
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    leaves = list(commands(command, click.Context(command))) if isinstance(command, click.Group) else [command]
    for leaf in leaves:
        assert "Example" in (leaf.epilog or ""), leaf.name


def test_help_imports_nothing_heavy():
    code = "import sys, ovenbird.cli.main as m; m.run(['--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {"pydantic", "starlette", "uvicorn", "yaml", "asyncio", "http.client", "ovenbird.ovsdb"}


def test_kinds_are_those_of_the_model():
    assert list(ALIASES) == list(KINDS)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Network", "Network"),
        ("net", "Network"),
        ("NETS", "Network"),
        ("networks", "Network"),
        ("extnet", "ExternalNetwork"),
        ("externalnetworks", "ExternalNetwork"),
        ("fip", "FloatingIP"),
        ("fips", "FloatingIP"),
        ("routers", "Router"),
        ("Ports", "Port"),
    ],
)
def test_kinds_are_found_by_any_spelling(text, kind):
    assert kind_of(text) == kind


def test_an_unknown_kind_is_answered_with_a_near_one():
    with pytest.raises(UserError) as caught:
        kind_of("netwrok")
    assert "network" in caught.value.hint


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["stauts"], 'did you mean "status"?'),
        (["apply"], "Missing option '-f'"),
        (["get", "netz"], 'unknown kind "netz"'),
        (["get", "nets", "-o", "xml"], "'xml'"),
        (["delete"], "give either KIND and NAMEs, or -f FILE"),
        (["delete", "net"], "give either KIND and NAMEs, or -f FILE"),
        (["delete", "net", "a", "-f", "x"], "give either KIND and NAMEs, or -f FILE"),
        (["wait", "--timeout", "soon"], "'soon'"),
        (["port", "attach", "a"], "--node"),
        (["port", "attach", "a", "--node", "n", "--static", "--interface", "i"], "--static"),
        (["--server", "tcp:1.2.3.4:80", "get"], "unix:/path"),
        (["apply", "-f", "/nowhere/a.yaml", "-f", "/nowhere/b.yaml"], "/nowhere/b.yaml: No such file"),
    ],
)
def test_wrong_usage_is_told_in_one_block_and_exits_with_2(args, said):
    done = ovenbird(*args)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert said in done.err


def test_an_error_is_one_json_document_on_stdout_when_json_was_asked_for(tmp_path):
    done = ovenbird("apply", "-f", tmp_path / "none.yaml", "-o", "json")
    assert done.status == 2
    assert set(done.json["error"]) == {"code", "message", "subject", "evidence", "hint", "exit_status", "problems"}
    assert done.json["error"]["exit_status"] == 2
    assert str(tmp_path / "none.yaml") in done.json["error"]["problems"][0]["message"]
    assert done.err == ""


def test_an_error_is_one_yaml_document_when_yaml_was_asked_for(tmp_path):
    done = ovenbird("apply", "-f", tmp_path / "none.yaml", "-o", "yaml")
    assert yaml.safe_load(done.out)["error"]["exit_status"] == 2


def test_a_directory_without_declarations_is_an_error(tmp_path):
    done = ovenbird("plan", "-f", tmp_path)
    assert done.status == 2
    assert f"{tmp_path}: no *.yaml" in done.err


def test_servers_that_do_not_answer_are_each_named(tmp_path):
    nobody, silent = tmp_path / "nobody.sock", tmp_path / "silent.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(silent))
    done = ovenbird("--server", f"unix:{nobody},unix:{silent}", "get", "nets")
    assert (done.status, done.out) == (69, "")
    assert f"{nobody}: No such file or directory" in done.err
    assert f"{silent}: Connection refused" in done.err


def test_no_server_at_all_says_how_to_have_one(tmp_path):
    done = ovenbird("--lab", "no-such-lab", "get")
    assert done.status in (2, 69)
    assert "no-such-lab" in done.err


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnope", 70, "not JSON"),
        (b"garbage\r\n\r\n", 69, "connection lost"),
        (b"", 69, "connection lost"),
    ],
)
def test_a_server_that_talks_nonsense_is_told_as_such(tmp_path, answer, status, said):
    path = tmp_path / "odd.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def reply() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=reply)
        thread.start()
        done = ovenbird("get", server=path)
        thread.join(10)
    assert done.status == status
    assert said in done.err


def test_a_change_that_is_not_answered_is_not_sent_to_another_server(tmp_path):
    """Whether it happened is not known: the caller is told so, with the exit code for trying again."""
    path = tmp_path / "odd.sock"
    (tmp_path / "empty.yaml").write_text("")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def hang_up() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)

        thread = threading.Thread(target=hang_up)
        thread.start()
        done = ovenbird("--server", f"{path},{path}", "apply", "-f", tmp_path / "empty.yaml")
        thread.join(10)
    assert done.status == 75
    assert "not known" in done.err


def test_a_socket_path_longer_than_the_kernel_takes_is_reached(tmp_path):
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    done = ovenbird("get", server=deep / "api.sock")
    assert done.status == 69
    assert "No such file" in done.err


def test_version_in_every_form():
    assert ovenbird("version").out.startswith("ovenbird ")
    version = ovenbird("version", "-o", "json").json["version"]
    assert yaml.safe_load(ovenbird("version", "-o", "yaml").out) == {"version": version}
    assert ovenbird("--version").out == f"ovenbird {version}\n"


def test_schema_needs_no_server():
    done = ovenbird("schema")
    assert done.status == 0
    assert json.loads(done.out) == json_schema()


def test_a_reader_that_goes_away_is_no_traceback():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*PROGRAM, "schema"], stdout=writer, stderr=subprocess.PIPE, timeout=30, check=False)
    os.close(writer)
    assert done.stderr == b""
    assert done.returncode == 141


def test_ctrl_c_exits_with_130(tmp_path):
    path = tmp_path / "slow.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        # Where the tests run in the background of a shell, it has told all their children to ignore SIGINT.
        interruptible = ["env", "--default-signal=INT", *PROGRAM, "--server", f"unix:{path}", "get"]
        process = subprocess.Popen(interruptible, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            process.send_signal(2)
            _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Traceback" not in err


def test_shells_complete_commands_and_kinds():
    def complete(line: str) -> str:
        words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1), "_OVENBIRD_COMPLETE": "bash_complete"}
        return ovenbird(env=words).out

    assert "plain,status" in complete("ovenbird st")
    assert "plain,floatingip" in complete("ovenbird get fl")


def test_tables_align_and_show_what_is_missing():
    assert table(["a", "long"], [["x", None], ["yyy", 0]]) == "A    LONG\nx    -\nyyy  0"


def test_colours_only_for_terminals():
    assert "\x1b" not in ovenbird("stauts").err
