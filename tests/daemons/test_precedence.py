"""Threads that wait for no other process: which ones, judged by what the kernel says of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ovenbird.host import daemons
from ovenbird.model.layout import Layout
from ovenbird.plan.switch import Datapath
from ovenbird.process import precedence

NAMED = """
import os, sys, threading
from pathlib import Path

def stay(name):
    Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text(name)
    os.write(1, f"{name} {threading.get_native_id()}\\n".encode())
    ended.wait()

ended = threading.Event()
for name in sys.argv[1:]:
    threading.Thread(target=stay, args=(name,), daemon=True).start()
sys.stdin.read()
"""


@contextmanager
def process(*names: str) -> Iterator[tuple[int, dict[str, int]]]:
    """A process with threads of these names: its pid, and each one's own id."""
    argv = [sys.executable, "-c", NAMED, *names]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        yield running.pid, {name: int(tid) for name, tid in (running.stdout.readline().split() for _ in names)}
        running.communicate()


@pytest.fixture
def on_one_processor() -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def test_where_the_kernel_forwards_only_what_sends_bfd_waits_for_nobody():
    wanted = {datapath: daemons.vswitchd(Layout(), datapath).realtime_threads for datapath in Datapath}
    with process("monitor7", "handler3", "revalidator12", "pmd-c01") as (pid, threads):
        assert precedence.hasten(pid, wanted[Datapath.SYSTEM])
        assert {name for name, tid in threads.items() if os.sched_getscheduler(tid) != os.SCHED_OTHER} == {"monitor7"}
        assert os.sched_getscheduler(threads["monitor7"]) == os.SCHED_RR | os.SCHED_RESET_ON_FORK
        assert os.sched_getscheduler(pid) == os.SCHED_OTHER
    with process("ovs-vswitchd", "monitor7", "handler3") as (pid, threads):
        assert precedence.hasten(pid, wanted[Datapath.NETDEV])
        hastened = {name for name, tid in threads.items() if os.sched_getscheduler(tid) != os.SCHED_OTHER}
        assert hastened == {"ovs-vswitchd", "monitor7"}


def test_on_a_host_with_one_processor_everybody_waits(on_one_processor: None):
    with process("monitor7") as (pid, threads):
        assert not precedence.hasten(pid, frozenset({"monitor"}))
        assert os.sched_getscheduler(threads["monitor7"]) == os.SCHED_OTHER


def test_what_an_operator_has_chosen_stays():
    with process("monitor7") as (pid, threads):
        os.sched_setscheduler(threads["monitor7"], os.SCHED_BATCH, os.sched_param(0))
        assert precedence.hasten(pid, frozenset({"monitor"}))
        assert os.sched_getscheduler(threads["monitor7"]) == os.SCHED_BATCH
