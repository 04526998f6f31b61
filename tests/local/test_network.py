"""The node's network and its rules, in a network namespace of each test's own."""

from __future__ import annotations

import socket
import struct
import time
from collections import Counter

import pytest

from sailcloth.agent import capture
from sailcloth.lib import namespaces as ns
from sailcloth.lib.nftables import Nftables
from sailcloth.local import network
from sailcloth.local.kubeproxy import KubeProxy

from .network_namespaces import add_pod, connected, inside, listening

A, B = "10.42.0.2", "10.42.0.3"


def _original(sock: socket.socket) -> tuple[str, int]:
    _, port, address = struct.unpack_from(">HH4s", sock.getsockopt(socket.IPPROTO_IP, 80, 16))
    return socket.inet_ntoa(address), port


def _accept(listener: socket.socket) -> tuple[socket.socket, str]:
    sock, peer = listener.accept()
    return sock, peer[0]


def test_pods_reach_each_other_and_the_node_by_their_own_addresses() -> None:
    def work() -> None:
        network.set_up_node()
        a, b = add_pod(A), add_pod(B)
        server = listening(b, "0.0.0.0", 80)
        with connected(a, B, 80):
            assert _accept(server)[1] == A
        with socket.create_connection((B, 80), 3):
            _accept(server)
        on_node = socket.create_server((network.NODE_IP, 6443))
        with connected(a, network.NODE_IP, 6443):
            assert _accept(on_node)[1] == A

    inside(work)


def test_every_connection_to_a_pod_that_is_gone_fails_at_once() -> None:
    """A client that waits instead does not try another endpoint. Linux limits how often it tells one peer."""

    def work() -> None:
        network.set_up_node()
        a = add_pod(A)
        Nftables().commit(network.pod_rules())
        proxy = KubeProxy()
        proxy.apply({}, set())
        begin = time.monotonic()
        for address in [B, "10.96.0.20"] * 20:
            with pytest.raises(OSError, match=r"refused|unreachable"):
                connected(a, address, 9080)
        assert time.monotonic() - begin < 2

    inside(work)


def test_service_addresses_spread_stick_and_refuse() -> None:
    def work() -> None:
        network.set_up_node()
        a, b, c = add_pod(A), add_pod(B), add_pod("10.42.0.4")
        servers = {fd: listening(fd, "0.0.0.0", 9080) for fd in (b, c)}
        proxy = KubeProxy()
        key, ends = ("10.96.0.20", "TCP", 80), ((B, 9080), ("10.42.0.4", 9080))

        def spread(times: int) -> Counter[str]:
            found: Counter[str] = Counter()
            for _ in range(times):
                with connected(a, "10.96.0.20", 80) as client:
                    for server in servers.values():
                        server.setblocking(False)
                        try:
                            sock, peer = _accept(server)
                        except BlockingIOError:
                            continue
                        assert peer == A
                        found[sock.getsockname()[0]] += 1
                        sock.close()
                    client.close()
            return found

        proxy.apply({}, set())
        with pytest.raises(ConnectionRefusedError):
            connected(a, "10.96.0.20", 80)
        proxy.apply({key: (ends, False)}, set())
        assert set(spread(40)) == {B, "10.42.0.4"}
        proxy.apply({key: (ends, True)}, set())
        assert len(spread(10)) == 1
        proxy = KubeProxy()  # of the next process of the node, which knows of no service yet
        assert len(spread(10)) == 1
        proxy.apply({key: (ends[:1], False)}, set())
        assert set(spread(5)) == {B}
        proxy.apply({key: ((), False)}, set())
        with pytest.raises(ConnectionRefusedError):
            connected(a, "10.96.0.20", 80)
        proxy.apply({}, set())

    inside(work)


def test_a_pod_reaches_itself_through_its_service() -> None:
    def work() -> None:
        network.set_up_node()
        a = add_pod(A)
        server = listening(a, "0.0.0.0", 9080)
        proxy = KubeProxy()
        proxy.apply({("10.96.0.20", "TCP", 80): (((A, 9080),), False)}, {A})
        with connected(a, "10.96.0.20", 80):
            _accept(server)

    inside(work)


def test_pods_reach_load_balancers_and_their_own_loopback() -> None:
    balancers = "127.40.0.0/16"

    def work() -> None:
        network.set_up_node()
        a, b = add_pod(A, balancers), add_pod(B, balancers)
        proxy = KubeProxy(balancers)
        rules = {("127.40.0.1", "TCP", 80): B, ("127.40.0.1", "UDP", 53): B, ("127.40.0.2", "TCP", 80): A}
        proxy.apply({key: (((end, 8080),), False) for key, end in rules.items()}, {A, B})
        Nftables().commit(network.egress_rules())
        server, own = listening(b, "0.0.0.0", 8080), listening(a, "0.0.0.0", 8080)
        for _ in range(2):
            with connected(a, "127.40.0.1", 80) as client:
                sock, peer = _accept(server)
                assert peer == A
                sock.send(b"hello")
                assert client.recv(10) == b"hello"
        for address, port in (("127.40.0.2", 80), ("127.0.0.1", 8080), ("127.41.0.1", 8080)):
            with connected(a, address, port):
                _accept(own)
        datagrams = [ns.in_netns(fd, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for fd in (b, a)]
        for each in datagrams:
            each.settimeout(3)
        datagrams[0].bind(("0.0.0.0", 8080))
        datagrams[1].connect(("127.40.0.1", 53))
        datagrams[1].send(b"hello")
        data, peer = datagrams[0].recvfrom(10)
        assert (data, peer[0]) == (b"hello", A)
        datagrams[0].sendto(b"you", peer)
        assert datagrams[1].recv(10) == b"you"
        datagrams[1].connect(("127.40.0.1", 54))
        datagrams[1].send(b"hello")
        with pytest.raises(ConnectionRefusedError):
            datagrams[1].recv(10)

    inside(work)


def test_capture_sends_the_applications_traffic_through_the_proxy_and_the_proxys_own_past_it() -> None:
    def work() -> None:
        network.set_up_node()
        a, b = add_pod(A), add_pod(B)
        flags = {
            "-p": "15001",
            "-z": "15006",
            "-u": "1337",
            "-m": "REDIRECT",
            "-i": "*",
            "-x": "",
            "-b": "*",
            "-d": "15090",
        }
        wanted = capture.parse(["istio-iptables", *(word for pair in flags.items() for word in pair)])
        network.apply_rules(a, capture.rules(wanted))
        outbound, inbound = listening(a, "0.0.0.0", 15001), listening(a, "0.0.0.0", 15006)
        other, own = listening(b, "0.0.0.0", 80), listening(a, "0.0.0.0", 80)
        excluded = listening(a, "0.0.0.0", 15090)

        with connected(a, B, 80):  # application to another pod
            sock, _ = _accept(outbound)
            assert _original(sock) == (B, 80)
        with connected(a, B, 80, mark=1337):  # the proxy itself
            assert _accept(other)[1] == A
        with connected(b, A, 80):  # another pod to the application
            sock, peer = _accept(inbound)
            assert (_original(sock), peer) == ((A, 80), B)
        with connected(b, A, 15090):  # an excluded port
            _accept(excluded)
        with connected(a, "127.0.0.1", 80):  # within the pod
            _accept(own)
        with connected(a, A, 80, mark=1337):  # the proxy to the pod's own address: as if it came from outside
            assert _original(_accept(inbound)[0]) == (A, 80)

        def from_inbound_source() -> socket.socket:
            made = socket.socket()
            made.settimeout(3)
            made.bind(("127.0.0.6", 0))
            made.connect((A, 80))
            return made

        with ns.in_netns(a, from_inbound_source):  # the proxy delivering to the application
            assert _accept(own)[1] == "127.0.0.6"

    inside(work)


@pytest.mark.parametrize(
    ("flags", "captured"),
    [
        ("-x 10.42.0.3/32", {80: False, 81: False}),
        ("-o 80", {80: False, 81: True}),
        ("-i 10.99.0.0/16", {80: False, 81: False}),
        ("-i 10.42.0.0/16", {80: True, 81: True}),
        ("-i  -q 81", {80: False, 81: True}),
    ],
)
def test_capture_honours_ranges_and_ports(flags: str, captured: dict[int, bool]) -> None:
    def work() -> None:
        network.set_up_node()
        a, b = add_pod(A), add_pod(B)
        network.apply_rules(a, capture.rules(capture.parse(["istio-iptables", *flags.split(" ")])))
        proxy = listening(a, "0.0.0.0", 15001)
        for port, through_proxy in captured.items():
            direct = listening(b, "0.0.0.0", port)
            with connected(a, B, port):
                (proxy if through_proxy else direct).accept()

    inside(work)


def test_in_a_container_the_proxy_is_told_by_its_user() -> None:
    """This process is user 0 there, who may mark packets; a container's proxy may not."""

    def work() -> None:
        network.set_up_node()
        a, b = add_pod(A), add_pod(B)
        for user, through_proxy in (("0", False), ("1337", True)):
            wanted = capture.parse(["istio-iptables", "-u", user], by_user=True)
            network.apply_rules(a, capture.rules(wanted))
            with listening(a, "0.0.0.0", 15001) as proxy, listening(b, "0.0.0.0", 80) as direct, connected(a, B, 80):
                (proxy if through_proxy else direct).accept()

    inside(work)


@pytest.mark.parametrize(
    ("environment", "resolvers", "captured"),
    [
        ({"ISTIO_META_DNS_CAPTURE": "true"}, (B,), True),
        ({"ISTIO_META_DNS_CAPTURE": "true"}, ("10.96.0.10",), False),
        ({"CAPTURE_ALL_DNS": "true"}, ("10.96.0.10",), True),
        ({"ISTIO_META_DNS_CAPTURE": "false"}, (B,), False),
    ],
)
def test_queries_to_the_pods_resolvers_go_to_its_agent_and_the_agents_own_past_it(
    environment: dict[str, str], resolvers: tuple[str, ...], captured: bool
) -> None:
    def datagrams(netns: int, address: str, port: int) -> socket.socket:
        def make() -> socket.socket:
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.settimeout(3)
            made.bind((address, port))
            return made

        return ns.in_netns(netns, make)

    def ask(netns: int, mark: int = 0) -> socket.socket:
        def make() -> socket.socket:
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.settimeout(3)
            if mark:
                made.setsockopt(socket.SOL_SOCKET, 36, mark)
            made.connect((B, 53))
            made.send(b"?")
            return made

        return ns.in_netns(netns, make)

    def work() -> None:
        network.set_up_node()
        a, b = add_pod(A), add_pod(B)
        network.apply_rules(a, capture.rules(capture.parse(["istio-iptables"], environment, resolvers)))
        agent, resolver = datagrams(a, "127.0.0.1", 15053), datagrams(b, B, 53)
        with ask(a) as asker:
            server = agent if captured else resolver
            _, peer = server.recvfrom(9)
            server.sendto(b"!", peer)
            assert asker.recv(9) == b"!"  # and from where it was asked: the socket is connected to that
        with ask(a, mark=1337):
            assert resolver.recvfrom(9)[1][0] == A
        over_tcp = listening(a, "127.0.0.1", 15053) if captured else listening(b, "0.0.0.0", 53)
        if captured:
            with connected(a, B, 53):
                _accept(over_tcp)

    inside(work)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [(["istio-iptables", "-m", "TPROXY"], "TPROXY"), (["istio-iptables", "-Q", "1"], "-Q")],
)
def test_unknown_capture_flags_are_named(arguments: list[str], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        capture.parse(arguments)
