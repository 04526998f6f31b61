"""The node's network: a routed veth pair for each pod, so that every packet crosses the node's namespace and its rules."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from pathlib import Path

from sailcloth.lib import namespaces as ns
from sailcloth.lib import nftables as n
from sailcloth.lib.nftables import Batch, Nftables
from sailcloth.lib.rtnetlink import SCOPE_LINK, TABLE_LOCAL, RouteSocket

NODE_IP, DNS_IP, API_IP = "10.42.0.1", "10.96.0.10", "10.96.0.1"
POD_CIDR, SERVICE_CIDR = "10.42.0.0/16", "10.96.0.0/16"
GATEWAY = "169.254.1.1"
EGRESS_PORT = 15019


def _sysctl(path: str, value: int) -> None:
    Path("/proc/sys", path).write_text(str(value))


def set_up_node() -> None:
    """Addresses, routes and forwarding of the node's own namespace."""
    with RouteSocket() as route:
        route.up(1)
        for address in (NODE_IP, DNS_IP):
            with contextlib.suppress(FileExistsError):
                route.address(1, address)
        # Lets clients on the node reach the rules for service addresses
        route.route("10.96.0.0", 16, 1, source=NODE_IP)
        route.route("10.42.0.0", 16, 1, source=NODE_IP)  # for addresses without a pod, which `pod_rules` refuses
    _sysctl("net/ipv4/ip_forward", 1)
    # Linux tells a peer once in a second that it is refused; whoever is not told waits, instead of trying another address.
    _sysctl("net/ipv4/icmp_ratelimit", 0)
    for key in (
        "conf/all/rp_filter",
        "conf/default/rp_filter",
        "conf/all/send_redirects",
        "conf/default/send_redirects",
    ):
        _sysctl(f"net/ipv4/{key}", 0)
    _sysctl("net/ipv4/ip_unprivileged_port_start", 0)


def connect_pod(fd: int, address: str, load_balancers: str = "") -> None:
    """Connect a pod's network namespace, and route to its address; both end with the namespace. `load_balancers`: a range of the loopback
    that is the node's, where its rules know the addresses in it; all else of the loopback is the pod's own."""
    name = "v" + format(int(ipaddress.ip_address(address)), "x")
    with RouteSocket() as route:
        route.veth(name, "eth0", fd)
        index = socket.if_nametoindex(name)
        route.up(index)
        route.address(index, GATEWAY)
        route.route(address, 32, index)

    def inside() -> None:
        with RouteSocket() as route:
            route.up(1)
            eth0 = socket.if_nametoindex("eth0")
            route.up(eth0)
            route.address(eth0, address)
            route.route(GATEWAY, 32, eth0, scope=SCOPE_LINK)
            route.route("0.0.0.0", 0, eth0, gateway=GATEWAY, onlink=True)
            if load_balancers:
                first, _, prefix = load_balancers.partition("/")
                route.route(first, int(prefix), eth0, GATEWAY, onlink=True, source=address, table=TABLE_LOCAL)
                _sysctl("net/ipv4/conf/eth0/route_localnet", 1)  # for the answers
        _sysctl("net/ipv4/ip_unprivileged_port_start", 0)

    ns.in_netns(fd, inside)


def apply_rules(netns_fd: int, batch: Batch) -> None:
    """Put rules in force inside a pod's namespace."""
    nft = ns.in_netns(netns_fd, Nftables)
    try:
        nft.commit(batch)
    finally:
        nft.close()


def pod_rules() -> Batch:
    """Connections to addresses of pods that are gone are refused at once. Without a route, Linux would say so a few times a second."""
    table = "pods"
    b = Batch().fresh_table(table)
    # The node's own connections are judged before a service's address becomes a pod's (-100): the interface is chosen anew only later.
    for hook, priority in (("forward", 0), ("output", -150)):
        b.chain(table, hook, hook, priority=priority, kind="filter")
        b.rule(table, hook, n.destination(f"{NODE_IP}/32"), n.verdict(n.RETURN))
        b.rule(table, hook, n.out_loopback(), n.destination(POD_CIDR), n.reject())
    return b


def egress_rules() -> Batch:
    """TCP to addresses outside the cluster goes to the egress listener; UDP there is refused at once."""
    table = "egress"
    b = Batch().fresh_table(table).chain(table, "pre", "prerouting", priority=-95)
    local = (POD_CIDR, SERVICE_CIDR, f"{GATEWAY}/32")
    for cidr in local:
        b.rule(table, "pre", n.destination(cidr), n.verdict(n.RETURN))
    b.rule(table, "pre", n.tcp(), n.redirect(EGRESS_PORT))
    b.chain(table, "refuse", "prerouting", priority=-90, kind="filter")
    b.rule(table, "refuse", n.in_loopback(), n.verdict(n.RETURN))
    for cidr in local:
        b.rule(table, "refuse", n.destination(cidr), n.verdict(n.RETURN))
    b.rule(table, "refuse", n.udp(), n.reject())
    return b
