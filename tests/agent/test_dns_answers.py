"""What a pod's agent answers to questions for names, over real sockets, and what it hands on."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from envoy.service.discovery.v3 import discovery_pb2

from sailcloth.agent import dns, proxy_socket
from sailcloth.agent.dns import DnsServer, Resolver
from sailcloth.agent.name_tables import NameTables
from sailcloth.agent.netns import PodSockets
from sailcloth.envoy.resources import name_table
from sailcloth.lib import dnsmessage
from sailcloth.lib.dnsmessage import AAAA, A, Query
from sailcloth.local import dns as cluster_dns
from sailcloth.xds.types import NAMES

SEARCH = ["default.svc.cluster.local", "svc.cluster.local", "cluster.local"]
TABLES = {
    "db.example.com": {"db.example.com": ("240.240.1.1",)},
    "*.wild.example.com": {"*.wild.example.com": ("240.240.1.2",)},
    "deep.wild.example.com": {"deep.wild.example.com": ("240.240.1.3",)},
    "reviews.default.svc.cluster.local": {"reviews.default.svc.cluster.local": ("10.96.0.7", "fd00::7")},
    "shop.other.svc.cluster.local": {"shop.other.svc.cluster.local": ("10.96.0.8",)},
    "set.default.svc.cluster.local": {
        "set.default.svc.cluster.local": tuple(f"10.42.0.{i}" for i in range(1, 61)),
        "set-0.set.default.svc.cluster.local": ("10.42.0.1",),
    },
}


def table(hosts: dict[str, tuple[str, ...]]) -> tuple[str, bytes]:
    body = name_table.encode(hosts, name_table.EXTERNAL, "", "default")
    return str(hash(body)), body


def known() -> NameTables:
    names = NameTables(SEARCH)
    names.update({name: table(hosts) for name, hosts in TABLES.items()})
    return names


@pytest.mark.parametrize(
    ("asked", "addresses", "alias"),
    [
        ("db.example.com", ["240.240.1.1"], ""),
        ("db.example.com.default.svc.cluster.local", ["240.240.1.1"], "db.example.com"),
        ("a.wild.example.com", ["240.240.1.2"], ""),
        ("a.b.wild.example.com", ["240.240.1.2"], ""),
        ("deep.wild.example.com", ["240.240.1.3"], ""),
        ("reviews", ["10.96.0.7"], ""),
        ("reviews.default", ["10.96.0.7"], ""),
        ("reviews.default.svc", ["10.96.0.7"], ""),
        ("reviews.default.svc.cluster.local", ["10.96.0.7"], ""),
        ("shop.other", ["10.96.0.8"], ""),
        ("set-0.set.default.svc.cluster.local", ["10.42.0.1"], ""),
        ("shop", None, ""),
        ("wild.example.com", None, ""),
        ("example.com", None, ""),
        ("db.example.com.svc.cluster.local", None, ""),
    ],
)
def test_names_are_found_as_istios_agent_finds_them(asked: str, addresses: list[str] | None, alias: str) -> None:
    found = known().lookup(asked)
    assert (found and [socket.inet_ntoa(a) for a in found.addresses_of(4)]) == addresses
    assert (found.alias if found else "") == alias


def test_a_change_replaces_what_its_table_said_and_nothing_else() -> None:
    names = known()
    names.update({"set.default.svc.cluster.local": table({"set.default.svc.cluster.local": ("10.42.0.9",)})})
    assert names.lookup("set-0.set.default.svc.cluster.local") is None
    assert len(names) == len(TABLES)
    names.update({}, ["db.example.com", "never.was.there"])
    assert names.lookup("db.example.com") is None
    assert names.lookup("reviews") is not None
    before = names.versions
    with pytest.raises(ValueError, match="not a name table"):
        names.update({"reviews.default.svc.cluster.local": ("9", b"\xff\xff")}, ["shop.other.svc.cluster.local"])
    assert names.versions == before
    assert names.lookup("shop.other") is not None


def test_tables_are_taken_from_the_proxys_stream_and_answered() -> None:
    names = NameTables(SEARCH)
    asked = discovery_pb2.DeltaDiscoveryRequest.FromString(proxy_socket._name_table_request(names))
    assert (asked.type_url, list(asked.resource_names_subscribe)) == (NAMES, ["*"])
    response = discovery_pb2.DeltaDiscoveryResponse(type_url=NAMES, nonce="n1")
    version, body = table(TABLES["db.example.com"])
    one = response.resources.add(name="db.example.com", version=version)
    one.resource.type_url, one.resource.value = NAMES, body
    answer = discovery_pb2.DeltaDiscoveryRequest.FromString(
        proxy_socket._accept_name_tables(names, response.SerializeToString())
    )
    assert (answer.type_url, answer.response_nonce, answer.HasField("error_detail")) == (NAMES, "n1", False)
    again = discovery_pb2.DeltaDiscoveryRequest.FromString(proxy_socket._name_table_request(names))
    assert dict(again.initial_resource_versions) == {"db.example.com": version}
    one.resource.value = b"\xff"
    refused = discovery_pb2.DeltaDiscoveryRequest.FromString(
        proxy_socket._accept_name_tables(names, response.SerializeToString())
    )
    assert "not a name table" in refused.error_detail.message
    assert names.lookup("db.example.com")
    other = discovery_pb2.DeltaDiscoveryResponse(type_url="type.googleapis.com/other", nonce=NAMES)
    assert proxy_socket._accept_name_tables(names, other.SerializeToString()) == b""


# -- over sockets -------------------------------------------------------------------------------


def free_port() -> int:
    """A port that is free for TCP and UDP."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as one, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            try:
                other.bind(one.getsockname())
            except OSError:
                continue
            return int(one.getsockname()[1])


def query(name: str, kind: int = A, size: int = 0) -> bytes:
    head = struct.pack(">HHHHHH", 77, 0x0100, 1, 0, 0, int(bool(size)))
    more = b"\0" + struct.pack(">HHIH", dnsmessage.OPT, size, 0, 0) if size else b""
    return head + dnsmessage.encode_name(name) + struct.pack(">HH", kind, 1) + more


@asynccontextmanager
async def serving(silent: bool = False) -> AsyncIterator[int]:
    """A pod's DNS on a port, and the resolver behind it."""
    upstream, port = free_port(), free_port()
    loop = asyncio.get_running_loop()
    zone = cluster_dns.Zone()
    zone.replace({"away.default.svc.cluster.local": ["10.96.0.99"]})
    behind = cluster_dns.Server(zone)
    if silent:
        transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", upstream))
    else:
        transport, _ = await loop.create_datagram_endpoint(lambda: behind, ("127.0.0.1", upstream))
    stream = await asyncio.start_server(behind.tcp, "127.0.0.1", upstream)
    resolver = Resolver(-1, "127.0.0.1", 0, upstream)
    await resolver.start()
    server = DnsServer(PodSockets(-1), port, resolver, known())
    await server.start()
    try:
        yield port
    finally:
        await server.close()
        resolver.close()
        transport.close()
        stream.close()
        await stream.wait_closed()
        await asyncio.sleep(0)  # transports close in the loop's next turn


class _Client(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.answers: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, address: object) -> None:
        self.answers.put_nowait(data)


@asynccontextmanager
async def asking(port: int) -> AsyncIterator[_Client]:
    transport, client = await asyncio.get_running_loop().create_datagram_endpoint(
        _Client, remote_addr=("127.0.0.1", port)
    )
    client.transport = transport  # type: ignore[attr-defined]
    try:
        yield client
    finally:
        transport.close()
        await asyncio.sleep(0)


async def ask(port: int, data: bytes) -> bytes:
    async with asking(port) as client:
        client.transport.sendto(data)  # type: ignore[attr-defined]
        return await asyncio.wait_for(client.answers.get(), 5)


def outcome(answer: bytes) -> tuple[int, int]:
    """(code, number of answers)."""
    return answer[3] & 15, int(struct.unpack(">H", answer[6:8])[0])


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("DB.Example.com", A, (0, 1)),
        ("db.example.com", AAAA, (0, 0)),
        ("db.example.com.default.svc.cluster.local", A, (0, 2)),
        ("reviews", AAAA, (0, 1)),
        ("away.default.svc.cluster.local", A, (0, 1)),
        ("nobody.default.svc.cluster.local", A, (3, 0)),
        ("db.example.com", 16, (3, 0)),
    ],
)
async def test_answers_over_udp_and_tcp_are_the_same(name: str, kind: int, expected: tuple[int, int]) -> None:
    async with serving() as port:
        answer = await ask(port, query(name, kind))
        assert answer[:2] == query(name)[:2]
        assert outcome(answer) == expected
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        asked = query(name, kind)
        for _ in range(2):
            writer.write(struct.pack(">H", len(asked)) + asked)
            (length,) = struct.unpack(">H", await reader.readexactly(2))
            assert outcome(await reader.readexactly(length)) == expected
        writer.close()
        await writer.wait_closed()


async def test_an_address_is_kept_for_thirty_seconds() -> None:
    async with serving() as port:
        answer = await ask(port, query("db.example.com"))
    kind, klass, ttl, length = struct.unpack(">HHIH", answer[-14:-4])
    assert (kind, klass, ttl, length) == (A, 1, 30, 4)
    assert socket.inet_ntoa(answer[-4:]) == "240.240.1.1"


async def test_an_answer_that_is_too_long_for_udp_says_so() -> None:
    async with serving() as port:
        short = await ask(port, query("set.default.svc.cluster.local"))
        assert short[2] & 2
        assert outcome(short) == (0, 0)
        assert len(short) <= 512
        whole = await ask(port, query("set.default.svc.cluster.local", size=4096))
        assert not whole[2] & 2
        assert outcome(whole) == (0, 60)


async def test_what_waits_for_the_resolver_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns, "MAX_PENDING", 3)
    async with serving(silent=True) as port, asking(port) as client:
        for i in range(5):
            client.transport.sendto(query(f"n{i}.example.org"))  # type: ignore[attr-defined]
        for _ in range(2):
            assert outcome(await asyncio.wait_for(client.answers.get(), 5)) == (dnsmessage.SERVER_FAILURE, 0)
        assert client.answers.empty()


async def test_an_answer_to_another_question_is_not_handed_on() -> None:
    resolver = Resolver(-1, "127.0.0.1", 0)
    sent: list[bytes] = []
    answers: list[bytes] = []

    class Wire:
        def sendto(self, data: bytes) -> None:
            sent.append(data)

        def close(self) -> None: ...

    resolver.connection_made(Wire())
    asked = query("here.example.org")
    parsed = Query.parse(asked)
    assert parsed is not None
    resolver.forward(asked, parsed, answers.append)
    forged = query("there.example.org")
    resolver.datagram_received(sent[0][:2] + forged[2:], None)
    assert answers == []
    resolver.datagram_received(sent[0], None)
    assert answers == [asked]
    resolver.close()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 11,
        query("a.b")[:-3],
        query("a.b")[:4] + b"\0\2" + query("a.b")[6:],
        query("a.b")[:2] + b"\x81" + query("a.b")[3:],
        query("a.b")[:12] + b"\xc0\x0c" + b"\0\1\0\1\0\0\0",
        query("a.b")[:-1] + b"\x03",
    ],
)
def test_what_is_no_question_is_left_alone(data: bytes) -> None:
    assert Query.parse(data) is None


def test_resolv_conf() -> None:
    text = "domain old\nsearch a.b c.d # mine\nnameserver 10.0.0.1\nnameserver fd00::1\noptions ndots:5\n"
    assert dns.resolv_conf(text) == (["10.0.0.1", "fd00::1"], ["a.b", "c.d"])
