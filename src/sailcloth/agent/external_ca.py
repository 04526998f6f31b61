"""A CA that is not the control plane's: one that speaks Istio's protocol at the address that a proxy's environment names, such as
cert-manager's istio-csr. It gets the workload's token, and its own certificate must be under the mesh's roots, or under those in a
file of the proxy's container."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass

import grpc

log = logging.getLogger(__name__)

Resolve = Callable[[str], Awaitable[str]]
"""The address of a name of the cluster; empty for other names, which the machine resolves. Raises OSError."""
_KNOWN = ("", "Citadel")


@dataclass(frozen=True)
class CaOptions:
    """Where a workload's certificates come from. An empty address: from the control plane."""

    address: str = ""  # host:port
    server_name: str = ""  # in the CA's certificate
    roots: str = ""  # file with the CA's roots in the proxy's container; empty: the mesh's

    @classmethod
    def from_env(cls, env: Mapping[str, str], control_plane: str) -> CaOptions:
        """By CA_ADDR, CA_SNI and CA_ROOT_CA, as in Istio. `control_plane`: the server name of the control plane."""
        address = env.get("CA_ADDR", "").removeprefix("https://")
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit():
            host, port = address, "443"
        provider = env.get("CA_PROVIDER", "")
        if provider not in _KNOWN:
            log.warning("CA_PROVIDER=%r is not known: CA_ADDR is asked by Istio's protocol", provider[:40])
        if not host or _short(host) == _short(control_plane):
            return cls()
        return cls(f"{host}:{port}", env.get("CA_SNI") or host, env.get("CA_ROOT_CA", ""))


def _short(host: str) -> str:
    return host.removesuffix(".cluster.local")


class ExternalCa:
    """Connects to the CA for each certificate: they are seldom, and names, roots and addresses may change meanwhile."""

    def __init__(self, options: CaOptions, roots: Callable[[], bytes], resolve: Resolve) -> None:
        self._options, self._roots, self._resolve = options, roots, resolve

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[grpc.aio.Channel]:
        """A channel to the CA. Raises OSError if the name does not resolve or the roots cannot be read."""
        host, _, port = self._options.address.rpartition(":")
        address = await self._resolve(host)
        channel = grpc.aio.secure_channel(
            f"{address or host}:{port}",
            grpc.ssl_channel_credentials(root_certificates=self._roots()),
            options=[("grpc.ssl_target_name_override", self._options.server_name)],
        )
        async with channel:
            yield channel
