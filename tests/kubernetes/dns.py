"""The cluster's DNS, which is no part of Kubernetes: `python -m tests.kubernetes.dns KUBECONFIG ADDRESS` serves its Services' names.

Names and addresses are read twice a second, which is enough for tests; a name that is not known yet is asked for again.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from sailcloth.kube import RETRIABLE, Client
from sailcloth.kube.resources import ENDPOINTSLICES, SERVICES
from sailcloth.local.dns import Server, Zone

_SERVICE = "kubernetes.io/service-name"
_POLL_S = 0.5


async def serve(kubeconfig: str, address: str) -> None:
    """Serve until cancelled."""
    zone = Zone()
    server = Server(zone)
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: server, local_addr=(address, 53))
    await asyncio.start_server(server.tcp, address, 53)
    async with Client.from_kubeconfig(kubeconfig) as client:
        while True:
            try:
                services, slices = (await client.list(SERVICES))[0], (await client.list(ENDPOINTSLICES))[0]
                zone.replace(names(services, slices))
            except RETRIABLE as error:
                print(f"Services are not read: {error}", flush=True)
            await asyncio.sleep(_POLL_S)


def names(services: list[dict[str, Any]], slices: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Addresses by name: of a Service, or if it has none, of its endpoints."""
    known: dict[str, list[str]] = {}
    for service in services:
        address = service["spec"].get("clusterIP", "")
        known[_name(service, service["metadata"]["name"])] = [] if address in ("", "None") else [address]
    headless = {name for name, addresses in known.items() if not addresses}
    for each in slices:
        name = _name(each, (each["metadata"].get("labels") or {}).get(_SERVICE, ""))
        if name in headless:
            ready = (e for e in each.get("endpoints") or () if (e.get("conditions") or {}).get("ready"))
            known[name] += [address for endpoint in ready for address in endpoint["addresses"]]
    return known


def _name(owner: dict[str, Any], service: str) -> str:
    return f"{service}.{owner['metadata']['namespace']}.svc.cluster.local"


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:3]))
