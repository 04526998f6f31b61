"""Many sidecars as far as the control plane can tell: delta ADS over TCP, every response parsed and acknowledged.

A process of its own. Commands are JSON lines on standard input, answers JSON lines on standard output.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import grpc
from envoy.service.discovery.v3 import discovery_pb2 as pb

PREFIX = "type.googleapis.com/envoy.config."
CDS, EDS = PREFIX + "cluster.v3.Cluster", PREFIX + "endpoint.v3.ClusterLoadAssignment"
LDS, RDS = PREFIX + "listener.v3.Listener", PREFIX + "route.v3.RouteConfiguration"
METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
ROUTES = ["80"]


class Counters:
    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.first = self.last = 0.0
        self.bytes = 0
        self.responses: dict[str, int] = {}
        self.resources: dict[str, int] = {}


class Sidecar:
    def __init__(self, number: int, channel: grpc.aio.Channel, counters: Counters, namespace: str) -> None:
        self.number, self._channel, self._counters, self.namespace = number, channel, counters, namespace
        self.have: set[str] = set()

    async def run(self) -> None:
        call = self._channel.stream_stream(METHOD)(metadata=(("x-sailcloth-plain", "1"),))
        name = f"client-{self.number}"
        node = {
            "id": f"sidecar~10.50.{self.number // 250}.{self.number % 250 + 1}~{name}.{self.namespace}~{self.namespace}.svc.cluster.local",
            "cluster": f"client.{self.namespace}",
        }
        first = pb.DeltaDiscoveryRequest(type_url=CDS)
        first.node.id, first.node.cluster = node["id"], node["cluster"]
        first.node.metadata.update({"NAMESPACE": self.namespace, "NAME": name, "LABELS": {"app": "client"}})
        await call.write(first.SerializeToString())
        await call.write(pb.DeltaDiscoveryRequest(type_url=LDS).SerializeToString())
        counters = self._counters
        async for body in call:
            response = pb.DeltaDiscoveryResponse.FromString(body)
            url = response.type_url
            names = [r.name for r in response.resources]
            await call.write(pb.DeltaDiscoveryRequest(type_url=url, response_nonce=response.nonce).SerializeToString())
            if url == CDS and CDS not in self.have:
                wanted = [n for n in names if n.startswith("outbound")]
                more = pb.DeltaDiscoveryRequest(type_url=EDS, resource_names_subscribe=wanted)
                await call.write(more.SerializeToString())
            if url == LDS and LDS not in self.have:
                more = pb.DeltaDiscoveryRequest(type_url=RDS, resource_names_subscribe=ROUTES)
                await call.write(more.SerializeToString())
            self.have.add(url)
            now = time.monotonic()
            counters.first = counters.first or now
            counters.last = now
            counters.bytes += len(body)
            counters.responses[url] = counters.responses.get(url, 0) + 1
            counters.resources[url] = counters.resources.get(url, 0) + len(names)


async def main(port: int) -> None:
    counters, sidecars = Counters(), list[Sidecar]()
    tasks: list[asyncio.Task[None]] = []
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) for _ in range(20)]
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        command: dict[str, Any] = json.loads(line)
        if "connect" in command:
            spaces = command.get("namespaces", 0)  # of their own; 0: all are in `default`
            for number in range(command["connect"]):
                space = f"ns-{number % spaces}" if spaces else "default"
                made = Sidecar(len(sidecars), channels[len(sidecars) % len(channels)], counters, space)
                sidecars.append(made)
                tasks.append(asyncio.ensure_future(made.run()))
        if command.get("reset"):
            counters.reset()
        answer = {
            "first": counters.first,
            "last": counters.last,
            "bytes": counters.bytes,
            "responses": counters.responses,
            "resources": counters.resources,
            "complete": sum({CDS, EDS, LDS, RDS} <= s.have for s in sidecars),
            "failed": [repr(t.exception()) for t in tasks if t.done() and not t.cancelled()][:3],
        }
        print(json.dumps(answer), flush=True)
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
