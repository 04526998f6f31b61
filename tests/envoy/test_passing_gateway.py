"""A gateway with AUTO_PASSTHROUGH, seen at a real Envoy: it hands mutual TLS on and adds none of its own."""

from __future__ import annotations

import contextlib
import socket
import ssl

from .loopback import configuration, envoy, eventually, free_port

CLUSTER = "outbound_.9000_._.ledger.mesh.local"
WORLD = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: ledger, namespace: default}}
spec:
  hosts: [ledger.mesh.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 9000, name: tcp, protocol: TCP}}]
  endpoints:
    - {{address: 127.0.0.1, ports: {{tcp: {target}}}, serviceAccount: ledger}}
    - {{address: 127.0.0.1, ports: {{tcp: 1}}}} # takes no mutual TLS, so nothing is handed on to it
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: between, namespace: default}}
spec:
  servers:
    - {{port: {{number: {port}, name: tls, protocol: TLS}}, bind: 127.0.0.1, hosts: ["*.local"], tls: {{mode: AUTO_PASSTHROUGH}}}}
"""


def hello(name: str) -> bytes:
    """What a sidecar says first."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["istio"])
    said = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), said, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return said.read()


def received(server: socket.socket, count: int) -> bytes:
    connection, _ = server.accept()
    with connection:
        connection.settimeout(20)
        out = b""
        while len(out) < count and (more := connection.recv(count - len(out))):
            out += more
        return out


def test_mutual_tls_is_handed_on_as_it_came() -> None:
    said = hello(CLUSTER)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        port = free_port()
        text = WORLD.format(port=port, target=server.getsockname()[1])
        config = configuration(text, {"type": "router", "ip": "127.0.0.1"}, (f"127.0.0.1_{port}",))
        static = config["static_resources"]  # other clusters would wait for certificates that nobody brings
        static["clusters"] = [c for c in static["clusters"] if c["name"] in (CLUSTER, "sds-grpc", "xds-grpc")]
        with envoy(config):
            for _ in range(4):
                client = eventually("the gateway's port", lambda: socket.create_connection(("127.0.0.1", port)))
                with client:
                    client.sendall(said)
                    assert received(server, len(said)) == said
