"""The certificate of the control plane's own servers, the webhooks' among them, is renewed while they serve."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ssl
from collections.abc import AsyncIterator

import pytest
from cryptography import x509

from sailcloth.ca import authority as module
from sailcloth.ca.authority import Authority
from sailcloth.controlplane.server_tls import ServerTls
from sailcloth.testing.clock import VirtualClock

NAME = "istiod.istio-system.svc"


@contextlib.asynccontextmanager
async def serving(tls: ServerTls) -> AsyncIterator[int]:
    """The port of a server that has the certificate, as the webhooks' has."""

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(100):
                writer.write(data)
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0, ssl=tls.context())
    renewing = asyncio.create_task(tls.run())
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        renewing.cancel()
        server.close()


async def shown(port: int, root: Authority) -> x509.Certificate:
    """The certificate of a new connection, verified for the name."""
    context = ssl.create_default_context(cadata=root.certificate_pem.decode())
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=NAME)
    der = writer.get_extra_info("ssl_object").getpeercert(True)
    writer.close()
    return x509.load_der_x509_certificate(der)


async def test_a_certificate_is_renewed_after_a_third_of_its_time_and_open_connections_go_on() -> None:
    clock, root = VirtualClock(), Authority.create()
    async with asyncio.timeout(20), serving(ServerTls([NAME], lambda: root, clock=clock)) as port:
        first = await shown(port, root)
        context = ssl.create_default_context(cadata=root.certificate_pem.decode())
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=NAME)
        await clock.advance(29 * 86400)
        assert await shown(port, root) == first
        await clock.advance(2 * 86400)
        assert (await shown(port, root)).serial_number != first.serial_number
        writer.write(b"on")
        assert await reader.readexactly(2) == b"on"
        writer.close()


async def test_a_certificate_under_a_ca_that_ends_soon_is_renewed_sooner() -> None:
    clock = VirtualClock()
    now = [Authority.create(lifetime=dt.timedelta(days=3))]
    async with asyncio.timeout(20), serving(ServerTls([NAME], lambda: now[0], clock=clock)) as port:
        assert (await shown(port, now[0])).not_valid_after_utc == now[0].not_after
        now[0] = Authority.create()
        await clock.advance(86400 + 60)
        await shown(port, now[0])


async def test_a_ca_that_has_ended_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = VirtualClock()
    now = [Authority.create()]
    async with asyncio.timeout(20), serving(ServerTls([NAME], lambda: now[0], clock=clock)) as port:
        root, first = now[0], await shown(port, now[0])
        with monkeypatch.context() as patch:
            patch.setattr(module, "BACKDATE", dt.timedelta(days=2))
            now[0] = Authority.create(lifetime=dt.timedelta(days=-1))
        await clock.advance(31 * 86400)
        assert await shown(port, root) == first
        assert "is not renewed: the CA's certificate ended" in caplog.text
        now[0] = Authority.create()
        await clock.advance(120)
        await shown(port, now[0])
