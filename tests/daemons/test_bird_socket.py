"""BIRD's control socket, against a BIRD that runs here, without a neighbor that answers."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.waiting import eventually_sync

from ovenbird.host.bird_socket import CONFIGURE, PROTOCOLS, ask
from ovenbird.model.errors import Refused, Unavailable

CONFIGURATION = """
router id 10.98.1.2;
protocol device { }
protocol bgp n1 { local as 64601; neighbor 127.0.0.9 as 64600; multihop; passive; ipv4 { import all; export none; }; }
"""


@pytest.fixture
def bird(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    (tmp_path / "bird.conf").write_text(CONFIGURATION, encoding="ascii")
    socket = tmp_path / "bird.ctl"
    # In a network namespace of its own: it must not meet whatever speaks BGP on this host.
    command = ["unshare", "--net", "bird", "-f", "-c", str(tmp_path / "bird.conf"), "-s", str(socket)]
    process = subprocess.Popen([*command, "-P", str(tmp_path / "bird.pid")], stderr=subprocess.DEVNULL)
    try:
        eventually_sync(socket.exists, within_s=10)
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait(timeout=10)


def asked(path: Path, words: str, timeout_s: float = 10.0) -> tuple[tuple[str, str], ...]:
    return asyncio.run(ask(path, words, timeout_s=timeout_s))


def test_protocols_are_told_with_their_details(bird: subprocess.Popen[bytes], tmp_path: Path) -> None:
    lines = asked(tmp_path / "bird.ctl", PROTOCOLS)
    of_n1 = [text.split() for code, text in lines if code == "1002" and text.startswith("n1")]
    assert [words[1] for words in of_n1] == ["BGP"]
    details = {text.strip().partition(":")[0]: text.partition(":")[2].strip() for code, text in lines if code == "1006"}
    assert (details["Neighbor address"], details["Neighbor AS"]) == ("127.0.0.9", "64600")
    assert lines[-1][0] == "0000"


def test_a_new_configuration_is_taken_and_a_bad_one_refused_with_its_line(
    bird: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    socket, file = tmp_path / "bird.ctl", tmp_path / "bird.conf"
    file.write_text(CONFIGURATION.replace("bgp n1", "bgp n2"), encoding="ascii")
    asked(socket, CONFIGURE)
    eventually_sync(lambda: any(text.startswith("n2 ") for _, text in asked(socket, PROTOCOLS)), within_s=10)
    file.write_text(f"{CONFIGURATION}\nnonsense;\n", encoding="ascii")
    with pytest.raises(Refused) as caught:
        asked(socket, CONFIGURE)
    assert "bird.conf:6" in caught.value.evidence
    assert any(text.startswith("n2 ") for _, text in asked(socket, PROTOCOLS))


def test_a_bird_that_hangs_or_is_not_there_cannot_be_asked(bird: subprocess.Popen[bytes], tmp_path: Path) -> None:
    socket = tmp_path / "bird.ctl"
    with pytest.raises(Unavailable, match="cannot be asked"):
        asked(tmp_path / "none.ctl", PROTOCOLS)
    bird.send_signal(signal.SIGSTOP)
    with pytest.raises(Unavailable) as caught:
        asked(socket, PROTOCOLS, timeout_s=0.3)
    assert "no answer in 0.3 s" in caught.value.evidence
    bird.send_signal(signal.SIGCONT)
    assert asked(socket, PROTOCOLS)
