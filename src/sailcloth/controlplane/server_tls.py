"""The control plane's own server certificates: signed by the mesh's CA, renewed in time, their key in memory only."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import ssl
from collections.abc import Callable, Sequence

from sailcloth.ca.authority import Authority

_LIFETIME = dt.timedelta(days=90)
_RENEW_S = _LIFETIME.total_seconds() / 3


class ServerTls:
    """TLS contexts for servers of these names. New connections get the newest certificate; those that are open go on."""

    def __init__(
        self,
        names: Sequence[str],
        authority: Callable[[], Authority],
        minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    ) -> None:
        self._names, self._authority, self._minimum = [n for n in names if n], authority, minimum
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
        """Replace the certificate by one of the CA that signs now."""
        chain, key = self._authority().server(self._names, _LIFETIME)
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
            await asyncio.sleep(_RENEW_S)
            self.renew()
