"""The outside host as a router that speaks BGP: BIRD, with one session and BFD for each gateway's routed leg.

It tells each gateway a default route (as a provider does), takes what gateways tell it into its kernel, and forwards.
Sessions are passive: a gateway comes to it. `ovenbird lab exec outside -- birdc show route` shows what it has learnt.
This module must never tell gateways anything but the default route: what they carry, they know best.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence

from ovenbird.lab import wiring
from ovenbird.lab.node import Node
from ovenbird.lab.spec import GATEWAY_ASN, OUTSIDE_ASN, Leg
from ovenbird.model.cluster import Bfd
from ovenbird.model.errors import Unavailable

CONFIGURATION = "/run/bird/bird.conf"
_PID_FILE = "/run/ovenbird/bird.pid"
_START = f"""
set -u
asks() {{ birdc show status > /dev/null 2>&1; }}
! asks || {{ echo running; exit 0; }}
mkdir -p /run/ovenbird /var/log/ovenbird
echo 1 > /proc/sys/net/ipv4/ip_forward
bird -c {CONFIGURATION} -P {_PID_FILE} || exit 1
for _ in $(seq 100); do ! asks || {{ echo started; exit 0; }}; sleep 0.05; done
echo "bird does not answer on its socket" >&2
exit 1
"""
_GENERAL = """\
log "/var/log/ovenbird/bird.log" all;
router id {first};
protocol device {{ }}
protocol bfd {{ interface "r-*" {{ min rx interval {bfd.min_rx_ms} ms; min tx interval {bfd.min_tx_ms} ms; \
multiplier {bfd.mult}; }}; }}
protocol static everywhere {{ ipv4; route 0.0.0.0/0 unreachable; }}
protocol kernel {{ ipv4 {{ import none; export where source = RTS_BGP; }}; }}
template bgp leg {{
  local as {own};
  passive;
  bfd;
  debug {{ states }};
  error wait time 1, 1;
  ipv4 {{ import where net != 0.0.0.0/0; export where source = RTS_STATIC; next hop self; }};
}}
"""


def configuration(legs: Sequence[Leg], bfd: Bfd) -> str:
    """Return BIRD's configuration (bird(8), BIRD 2.0 User's Guide); each session bears the name of its gateway."""
    general = _GENERAL.format(first=legs[0].neighbor, bfd=bfd, own=OUTSIDE_ASN) if legs else ""
    sessions = (
        f"protocol bgp '{leg.node}' from leg {{ interface \"{leg.interface}\";"
        f" neighbor {leg.address} as {GATEWAY_ASN}; }}\n"
        for leg in legs
    )
    return general + "".join(sessions)


def configure(node: Node, legs: Sequence[Leg], bfd: Bfd) -> None:
    """Give the freshly booted outside host its ends of the legs, and start its BIRD; raises `Unavailable` without."""
    if shutil.which("bird", path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
        raise Unavailable(
            "bird is not installed, and a lab with `routed: true` needs it",
            code="no_bird",
            subject=node.name,
            hint="run scripts/setup, or install the Debian package bird2",
        )
    interfaces = [(leg.interface, [f"{leg.neighbor}/{leg.prefix_length}"]) for leg in legs]
    wiring.configure(node.require_init(), interfaces)
    script = f"mkdir -p /run/bird && cat > {shlex.quote(CONFIGURATION)}"
    node.run(["sh", "-c", script], timeout_s=20, stdin=configuration(legs, bfd)).checked(subject=node.name)
    start(node)


def start(node: Node) -> bool:
    """Start the outside host's BIRD; False if it already runs, or the host is off."""
    if not node.is_up:
        return False
    return node.run(["sh", "-c", _START], timeout_s=30).checked(subject=node.name).stdout.strip() == "started"
