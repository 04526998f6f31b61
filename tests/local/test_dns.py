"""Answers of the cluster's DNS, byte by byte."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from sailcloth.local import dns

A, AAAA = 1, 28


def _ask(server: dns.Server, name: str, kind: int = A) -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"
    query = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + struct.pack(">HH", kind, 1)
    answers: list[bytes] = []
    server.resolve(query, answers.append)
    assert len(answers) == 1, f"{len(answers)} answers to {name}"
    assert answers[0][12 : 12 + len(labels)] == labels, "the question comes back in the asker's spelling"
    return answers[0]


def _outcome(answer: bytes) -> tuple[int, int, int]:
    """(code, answers, authorities)."""
    return answer[3] & 15, *struct.unpack_from(">HH", answer, 6)


@pytest.fixture
def server() -> dns.Server:
    zone = dns.Zone()
    zone.replace(
        {
            "reviews.default.svc.cluster.local": ["10.96.0.20"],
            "db-0.db.default.svc.cluster.local": ["10.42.0.9"],
            "db.default.svc.cluster.local": ["10.42.0.9", "10.42.0.10"],
        }
    )
    return dns.Server(zone)


@pytest.mark.parametrize(
    ("name", "kind", "outcome"),
    [
        ("reviews.default.svc.cluster.local", A, (0, 1, 0)),
        ("Reviews.Default.svc.cluster.LOCAL", A, (0, 1, 0)),
        ("db.default.svc.cluster.local", A, (0, 2, 0)),
        ("db-0.db.default.svc.cluster.local", A, (0, 1, 0)),
        ("reviews.default.svc.cluster.local", AAAA, (0, 0, 1)),
        ("default.svc.cluster.local", A, (0, 0, 1)),
        ("nobody.default.svc.cluster.local", A, (3, 0, 1)),
        ("example.com", A, (3, 0, 0)),
    ],
)
def test_answers(server: dns.Server, name: str, kind: int, outcome: tuple[int, int, int]) -> None:
    assert _outcome(_ask(server, name, kind)) == outcome


def test_the_address_is_the_services(server: dns.Server) -> None:
    assert _ask(server, "reviews.default.svc.cluster.local").endswith(bytes([10, 96, 0, 20]))


@pytest.mark.parametrize("query", [b"", b"\0" * 12, b"\0" * 12 + b"\x3fabc", b"\0\0\x80\0" + b"\0" * 20])
def test_broken_queries_are_dropped(server: dns.Server, query: bytes) -> None:
    answers: list[bytes] = []
    server.resolve(query, answers.append)
    assert answers == []


def test_foreign_names_go_to_the_hosts_resolver_under_another_number() -> None:
    class Link:
        sent: list[bytes] = []

        def sendto(self, data: bytes) -> None:
            self.sent.append(data)

    async def run() -> None:  # the forwarder keeps its deadline on a running loop
        upstream, link = dns.Upstream(), Link()
        upstream.connection_made(link)
        answers: list[bytes] = []
        query = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + b"\x01a\x03com\0" + struct.pack(">HH", A, 1)
        dns.Server(dns.Zone(), upstream).resolve(query, answers.append)
        assert answers == []
        upstream.datagram_received(link.sent[0], None)
        assert answers == [query]
        upstream.datagram_received(link.sent[0], None)
        assert answers == [query], "an answer that nobody waits for is dropped"

    asyncio.run(run())


def test_a_name_that_stands_for_another_has_its_addresses(server: dns.Server) -> None:
    server._zone.replace(
        {"reviews.default.svc.cluster.local": ["10.96.0.20"]},
        {
            "alias.default.svc.cluster.local": "reviews.default.svc.cluster.local",
            "twice.default.svc.cluster.local": "alias.default.svc.cluster.local",
            "gone.default.svc.cluster.local": "nothing.default.svc.cluster.local",
            "round.default.svc.cluster.local": "round.default.svc.cluster.local",
        },
    )
    for name in ("alias", "twice"):
        answer = _ask(server, f"{name}.default.svc.cluster.local")
        assert _outcome(answer) == (0, 2, 0)
        assert answer.endswith(socket.inet_aton("10.96.0.20"))
    assert _outcome(_ask(server, "alias.default.svc.cluster.local", AAAA)) == (0, 1, 0)
    assert _outcome(_ask(server, "gone.default.svc.cluster.local")) == (0, 1, 0)
    assert _outcome(_ask(server, "round.default.svc.cluster.local"))[0] == 0


async def test_a_name_that_stands_for_a_foreign_one_is_looked_up_there() -> None:
    """The upstream's chain of names is left out: its addresses are the target's."""
    zone = dns.Zone()
    zone.replace({}, {"out.default.svc.cluster.local": "www.example.com"})
    asked: list[bytes] = []

    class Host(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, address: object) -> None:
            asked.append(data[12:])
            chain = b"\xc0\x0c" + struct.pack(">HHIH", 5, 1, 60, 3) + b"\x01x\x00"
            record = b"\x01x\x00" + struct.pack(">HHIH", A, 1, 60, 4) + socket.inet_aton("192.0.2.7")
            head = data[:2] + b"\x81\x80" + struct.pack(">HHHH", 1, 2, 0, 0)
            self.transport.sendto(head + data[12:] + chain + record, address)  # type: ignore[attr-defined]

    loop = asyncio.get_running_loop()
    host, _ = await loop.create_datagram_endpoint(Host, ("127.0.0.1", 0))
    transport, upstream = await loop.create_datagram_endpoint(dns.Upstream, remote_addr=host.get_extra_info("sockname"))
    answers: asyncio.Queue[bytes] = asyncio.Queue()
    name = dns.encode_name("out.default.svc.cluster.local")
    query = struct.pack(">HHHHHH", 9, 0x0100, 1, 0, 0, 0) + name + struct.pack(">HH", A, 1)
    dns.Server(zone, upstream).resolve(query, answers.put_nowait)
    answer = await asyncio.wait_for(answers.get(), 5)
    assert answer[:2] == query[:2]
    assert _outcome(answer) == (0, 2, 0)
    assert answer.endswith(socket.inet_aton("192.0.2.7"))
    assert asked == [dns.encode_name("www.example.com") + struct.pack(">HH", A, 1)]
    transport.close()
    host.close()


def test_names_that_are_not_known_wait_until_the_zone_is_complete(server: dns.Server) -> None:
    server._zone.complete = False
    assert _outcome(_ask(server, "reviews.default.svc.cluster.local")) == (0, 1, 0)
    assert _outcome(_ask(server, "example.com")) == (3, 0, 0), "not a name of the zone"
    answers: list[bytes] = []
    for name in ("new", "nobody"):
        labels = b"".join(bytes([len(p)]) + p for p in (name.encode(), *b"default svc cluster local".split())) + b"\0"
        server.resolve(
            struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + struct.pack(">HH", A, 1), answers.append
        )
    assert not answers
    server._zone.replace({"new.default.svc.cluster.local": ["10.96.0.21"]})
    server._zone.complete = True
    server.answer_waiting()
    assert [_outcome(a) for a in answers] == [(0, 1, 0), (3, 0, 1)]
