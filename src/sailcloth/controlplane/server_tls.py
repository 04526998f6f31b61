"""The control plane's own server certificates: signed by the mesh's CA, renewed in time, their key in memory only."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import os
import ssl
from collections.abc import Callable, Sequence

from cryptography import x509

from sailcloth.ca.authority import Authority, CaExpired
from sailcloth.lib.clock import MONOTONIC, Clock

log = logging.getLogger(__name__)

_LIFETIME = dt.timedelta(days=90)
_SHARE = 1 / 3  # of what is left of a certificate's time, after which it is renewed
_LEAST_S, _AGAIN_S = 1.0, 60.0


class ServerTls:
    """TLS contexts for servers of these names. New connections get the newest certificate; those that are open go on."""

    def __init__(
        self,
        names: Sequence[str],
        authority: Callable[[], Authority],
        minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
        clock: Clock = MONOTONIC,
    ) -> None:
        self._names, self._authority, self._minimum = [n for n in names if n], authority, minimum
        self._clock, self._pause_s = clock, _AGAIN_S
        self._contexts: list[ssl.SSLContext] = []

    def context(self, *protocols: str) -> ssl.SSLContext:
        """A context for one server, with these ALPN protocols."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.minimum_version = self._minimum
        if protocols:
            made.set_alpn_protocols(list(protocols))
        self._contexts.append(made)
        self.renew()
        return made

    def renew(self) -> None:
        """Replace the certificate by one of the CA that signs now. If that has ended, the old certificate stays, and the log says so."""
        try:
            chain, key = self._authority().server(self._names, _LIFETIME)
        except CaExpired as error:
            log.error("the control plane's certificate is not renewed: %s", error)
            self._pause_s = _AGAIN_S
            return
        left = x509.load_pem_x509_certificate(chain).not_valid_after_utc - dt.datetime.now(dt.UTC)
        self._pause_s = max(_LEAST_S, left.total_seconds() * _SHARE)
        # The ssl module loads certificates only from files; this one is in memory, without a name.
        descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, chain + key)
            for each in self._contexts:
                each.load_cert_chain(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)

    async def run(self) -> None:
        """Renew long before the certificate ends, until cancelled."""
        while True:
            await self._clock.wait(asyncio.Event(), self._clock.time() + self._pause_s)
            self.renew()
