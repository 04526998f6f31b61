"""DNS of a pod whose queries are captured: a server for the application, and one for Envoy."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from .dns import FORWARD_PORT, PORT, DnsServer, Resolver, resolv_conf
from .name_tables import NameTables
from .netns import PodSockets

_NAMES_S = 4.0  # for name tables from the control plane; resolvers ask again after five


@dataclass(eq=False)
class PodDns:
    """The DNS servers of a pod: one for the application, one for Envoy."""

    names: NameTables
    resolver: Resolver
    servers: tuple[DnsServer, DnsServer]
    waiting: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, resolv: str, sockets: PodSockets, mark: int) -> PodDns:
        """Start serving, with the upstream of a resolv.conf. Raises OSError, also if that has no IPv4 server."""
        servers, search = resolv_conf(resolv)
        server = next((s for s in servers if ":" not in s), "")
        if not server:
            raise OSError("the pod's resolv.conf has no IPv4 name server")
        names = NameTables(search)
        resolver = Resolver(sockets.netns_fd, server, mark)
        pair = DnsServer(sockets, PORT, resolver, names), DnsServer(sockets, FORWARD_PORT, resolver)
        created = cls(names, resolver, pair)
        try:
            await resolver.start()
            await pair[1].start()
            if sockets.adopted:
                created.waiting = asyncio.create_task(created._start_when_known())
            else:
                await pair[0].start()
        except OSError:
            await created.close()
            raise
        return created

    async def _start_when_known(self) -> None:
        """Answer the application when the names that an earlier process knew are known again: meanwhile its queries wait."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.names.received.wait(), _NAMES_S)
        await self.servers[0].start()

    def metrics(self) -> str:
        """Istio's DNS metrics in Prometheus' text format."""
        asked, forwarded = self.servers[0].answered + self.servers[0].forwarded, self.servers[0].forwarded
        result = {"requests": asked, "upstream_requests": forwarded, "upstream_failures": self.resolver.failures}
        names = {f"istio_agent_dns_{what}_total": number for what, number in result.items()}
        return "".join(f"# TYPE {name} counter\n{name} {number}\n" for name, number in names.items())

    async def close(self) -> None:
        if self.waiting is not None:
            self.waiting.cancel()
        for one in self.servers:
            await one.close()
        self.resolver.close()
