"""Whether a pod's traffic is captured, which the container istio-validation finds out without any right: as the proxy's user it connects
to the pod's own address, and the rules lead that to the proxy's inbound port, where it listens itself.

Changes nothing.
"""

from __future__ import annotations

import socket

NOT_CAPTURED = 126  # exit code by which the CNI plugin's DaemonSet knows the pod
_PROBE = 15002  # nobody listens there
_WAIT_S = 2.0


def addresses() -> list[str]:
    """The pod's own IPv4 addresses, which the kubelet writes into /etc/hosts."""
    try:
        found = socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        return []
    return sorted({str(a[4][0]) for a in found if not str(a[4][0]).startswith("127.")})


def is_captured(address: str, inbound: int) -> bool:
    """Whether a connection to a port of the pod arrives at the inbound port. Raises OSError if somebody listens there already."""
    with socket.socket() as listener, socket.socket() as client:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", inbound))  # noqa: S104  the rules lead to the pod's address
        listener.listen()
        listener.settimeout(_WAIT_S)
        client.settimeout(_WAIT_S)
        try:
            client.connect((address, _PROBE))
            accepted, peer = listener.accept()
        except OSError:
            return False
        accepted.close()
        return bool(peer == client.getsockname())
