"""`make fuzz-coverage`: the same parsers under atheris, which looks for inputs that reach lines no other input has reached.

Targets are functions of bytes below, and every test of this folder that is a property by itself. Each runs in a process of its own, for
an equal part of the time. What it finds is kept in `.fuzz/`, and a finding is printed with the bytes. Atheris is not in the lock: it has
11 MB and wheels for few platforms, and nothing else needs it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

FOLDER = Path(__file__).parents[2] / ".fuzz"
MODULES = (
    "test_bodies",
    "test_discovery",
    "test_identity",
    "test_network",
    "test_options",
    "test_streams",
    "test_telemetry",
    "test_tokens",
)
Target = Callable[[bytes], object]


def raw() -> Iterator[tuple[str, list[bytes], Target]]:
    """(name, examples, target) of parsers that take bytes as they come from a socket."""
    from sailcloth.ca import csr
    from sailcloth.lib import bounded_yaml, dnsmessage, http1, http2, spdy
    from sailcloth.local.apiserver.auth.service_account_tokens import InvalidToken
    from sailcloth.local.apiserver.http import protobuf
    from sailcloth.mesh import json_web_keys, mesh_config

    from . import test_bodies, test_identity, test_network, test_streams, test_tokens

    def refusing(target: Target, *refusals: type[Exception]) -> Target:
        def tried(data: bytes) -> None:
            with contextlib.suppress(*refusals):
                target(data)

        return tried

    def frames_of_http_2(data: bytes) -> None:
        connection = http2.ServerConnection(test_network.Requests())
        connection.receive(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + test_network.frame(4, 0, 0, b"") + data)
        connection.outgoing(1 << 16)

    def frames_of_spdy(data: bytes) -> None:
        async def feed() -> None:
            session = spdy.Session(test_streams._nothing, lambda _id, _headers, inbox: inbox.close())
            await session.feed(data)

        asyncio.run(feed())

    def dns(data: bytes) -> None:
        query = dnsmessage.Query.parse(data)
        if query is not None:
            assert len(query.fitted(query.answer([b"\1\2\3\4"] * 40, 5))) <= query.size
        dnsmessage.addresses(data, dnsmessage.A)

    def keys(data: bytes) -> None:
        used = json_web_keys.usable(data.decode("latin-1"))
        assert json_web_keys.usable(used) == used

    request = test_network.frame(1, 5, 1, b"\x82\x86\x84\x41\x01a")
    yield "http 2", [request], frames_of_http_2
    yield "spdy", [test_streams.VALID], refusing(frames_of_spdy, spdy.ProtocolError)
    yield "dns", [test_network.QUERY], refusing(dns, ValueError)
    yield (
        "http 1",
        [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"],
        refusing(http1.body, OSError),
    )
    yield (
        "csr",
        [test_identity.REQUEST, test_identity.DER],
        refusing(lambda data: csr.public_key(data, test_identity.REVIEWS.uri), csr.CsrRefused),
    )
    yield (
        "token",
        [test_identity.VALID.encode()],
        refusing(lambda data: test_identity.ISSUER.verify(data.decode("latin-1")), InvalidToken),
    )
    yield "key set", [test_tokens.dumped(test_tokens.SET).encode()], keys
    yield "protobuf", test_bodies.ENCODED, refusing(protobuf.decode, ValueError)
    yield "yaml", test_bodies.YAML, refusing(bounded_yaml.load, bounded_yaml.yaml.YAMLError, ValueError)
    yield (
        "mesh options",
        [b"outboundTrafficPolicy: {mode: ALLOW_ANY}\n"],
        refusing(lambda data: mesh_config.parse(data.decode("latin-1")), ValueError),
    )


def properties() -> Iterator[tuple[str, list[bytes], Target]]:
    """The tests of this folder that take what Hypothesis generates, and nothing else."""
    for name in MODULES:
        module = importlib.import_module(f"{__package__}.{name}")
        for test, function in vars(module).items():
            handle = getattr(function, "hypothesis", None)
            if test.startswith("test_") and handle is not None:
                yield f"{name.removeprefix('test_')}.{test.removeprefix('test_')}", [], handle.fuzz_one_input


def targets() -> dict[str, tuple[list[bytes], Target]]:
    return {name: (examples, target) for name, examples, target in (*raw(), *properties())}


def fuzz(name: str, seconds: int) -> None:
    """Run one target in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=["sailcloth"]):
        examples, target = targets()[name]
    corpus = FOLDER / "corpus" / name.replace(" ", "-")
    corpus.mkdir(parents=True, exist_ok=True)
    for number, example in enumerate(examples):
        (corpus / f"example-{number}").write_bytes(example)
    found = str(FOLDER / "found") + os.sep
    os.makedirs(found, exist_ok=True)
    options = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=10", "-rss_limit_mb=2048", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={found}", str(corpus)], target)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="for all targets together")
    parser.add_argument("--target", default="", help="one of them only")
    chosen = parser.parse_args()
    if chosen.target:
        fuzz(chosen.target, chosen.seconds)
    names, failed = list(targets()), []
    for name in names:
        each = max(1, chosen.seconds // len(names))
        command = [sys.executable, "-m", f"{__package__}.coverage", "--target", name, "--seconds", str(each)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")
        print(f"{'ok  ' if not done.returncode else 'FAIL'} {name} ({each} s)", flush=True)
        if done.returncode:
            failed.append(name)
            print(done.stdout[-2000:], done.stderr[-6000:], sep="\n", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
