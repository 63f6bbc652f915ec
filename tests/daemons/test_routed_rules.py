"""Rules of policy routing in a kernel: the wanted ones, however many networks there are, and nobody else's."""

import subprocess
import sys

from ovenbird.plan.routed import RULES_FROM

NETWORKS = 250
OTHERS = "5000:\tfrom 192.0.2.1 lookup main"
SCRIPT = f"""
import asyncio
import subprocess
from ovenbird.host.routed_links import keep_rules
from ovenbird.plan.routed import RoutedNetwork

def networks(count):
    return [
        RoutedNetwork(name=f"n{{one}}", physnet="ext", cidr=f"10.{{one}}.0.0/24", gateway=f"10.{{one}}.0.1")
        for one in range(count)
    ]

async def play():
    subprocess.run(["ip", "rule", "add", "pref", "5000", "from", "192.0.2.1", "lookup", "main"], check=True)
    for count in ({NETWORKS}, {NETWORKS}, 3, 0):
        await keep_rules(("ext",) if count else (), networks(count))
        print(subprocess.run(["ip", "-4", "rule", "show"], check=True, text=True, capture_output=True).stdout)
        print("--")

asyncio.run(play())
"""


def test_every_network_has_its_rule_once_and_goes_without_taking_another() -> None:
    ran = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    first, again, few, none = (part.strip().splitlines() for part in ran.stdout.split("--\n")[:4])
    assert sum(" to 10." in line for line in first) == NETWORKS
    assert first == again
    assert [line.split(" to ")[1].split("/")[0] for line in few if " to " in line] == [
        "10.0.0.0",
        "10.1.0.0",
        "10.2.0.0",
    ]
    assert not [line for line in none if int(line.split(":")[0]) in range(RULES_FROM, 5000)]
    assert all(OTHERS in part for part in (first, few, none))
