"""Answers of the cluster's DNS, byte by byte."""

from __future__ import annotations

import asyncio
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
