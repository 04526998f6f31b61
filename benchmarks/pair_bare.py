"""The yardstick of `pair`: two Envoys with mutual TLS and one route each, and nothing that they could do without.

The protocol choices are those of a Sailcloth mesh, because they are not what is compared: HTTP/1.1 from the client and to the
server, one HTTP/2 connection over mutual TLS 1.3 between the proxies, P-256 certificates with SPIFFE names that both sides
check, one worker thread. Everything else is Envoy's default: no capture, no inspectors, no control plane, no access log.

With `exchange` they also count as Istio's proxies do, as far as stock Envoy can: each side sends the other its workload in a header,
takes the other's header off into metadata, and counts one counter and three histograms under 25 labels. Istio's filters decode the
header into seven labels besides, so this is the least that such an exchange costs.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Object = dict[str, Any]
_TYPE = "type.googleapis.com/envoy."


@dataclass(frozen=True)
class Ports:
    """Where a pair listens: the client's and the server's Envoy, and their admin interfaces."""

    client: int
    server: int
    client_admin: int
    server_admin: int


BARE, EXCHANGE = Ports(19001, 19443, 19000, 19002), Ports(19011, 19453, 19010, 19012)
_HEADER = "x-envoy-peer-metadata"
_PEER = (
    "ChoKCkNMVVNURVJfSUQSDBoKS3ViZXJuZXRlcwoeCg1OQU1FU1BBQ0USDRoLZGVmYXVsdC1vbmUKGgoNV09SS0xPQURfTkFNRRIJGgdzZXJ2ZXItdjE="
    * 2
)
_LITERAL = (
    "source_workload_namespace", "source_app", "source_version", "source_canonical_service", "source_canonical_revision",
    "source_cluster", "source_principal", "destination_workload_namespace", "destination_app", "destination_version",
    "destination_canonical_service", "destination_canonical_revision", "destination_cluster", "destination_principal",
    "destination_service", "destination_service_name", "destination_service_namespace", "request_protocol",
    "connection_security_policy", "reporter",
)  # fmt: skip


def certificates(folder: Path) -> None:
    """Write roots.pem, and NAME.pem and NAME.key for client and server."""
    now = dt.datetime.now(dt.UTC)
    root_key = ec.generate_private_key(ec.SECP256R1())
    root_name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "cluster.local")])

    def certificate(name: x509.Name, key: ec.EllipticCurvePrivateKey, *extensions: tuple[Any, bool]) -> bytes:
        made = x509.CertificateBuilder(root_name, name, key.public_key(), x509.random_serial_number())
        made = made.not_valid_before(now - dt.timedelta(minutes=1)).not_valid_after(now + dt.timedelta(days=1))
        for extension, critical in extensions:
            made = made.add_extension(extension, critical)
        return made.sign(root_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    roots = certificate(root_name, root_key, (x509.BasicConstraints(ca=True, path_length=None), True))
    (folder / "roots.pem").write_bytes(roots)
    for who in ("client", "server"):
        key = ec.generate_private_key(ec.SECP256R1())
        uri = x509.UniformResourceIdentifier(f"spiffe://cluster.local/ns/default/sa/{who}")
        names = x509.SubjectAlternativeName([uri])
        (folder / f"{who}.pem").write_bytes(certificate(x509.Name([]), key, (names, True)))
        path = folder / f"{who}.key"
        path.touch(mode=0o600)
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )


def write(folder: Path, server: str, app_port: int, ports: Ports = BARE, exchange: bool = False) -> dict[str, Path]:
    """Certificates and both bootstraps; `server` is the address of the server's pod. Returns the bootstraps' paths."""
    certificates(folder)
    made = {
        "client": client(folder, server, ports, exchange),
        "server": server_side(folder, app_port, ports, exchange),
    }
    paths = {}
    for who, config in made.items():
        paths[who] = folder / f"{who}.json"
        paths[who].write_text(json.dumps(config, indent=1))
    return paths


def client(folder: Path, server: str, ports: Ports, exchange: bool) -> Object:
    """Plain HTTP/1.1 in, HTTP/2 over mutual TLS out."""
    http2 = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": _TYPE + "extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    context = {
        "@type": _TYPE + "extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": _tls(folder, "client", "server"),
    }
    upstream = {
        **_cluster("server", server, ports.server),
        "typed_extension_protocol_options": http2,
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context},
    }
    listener = _listener("127.0.0.1", ports.client, "server", "request" if exchange else "")
    return _bootstrap(ports.client_admin, listener, upstream)


def server_side(folder: Path, app_port: int, ports: Ports, exchange: bool) -> Object:
    """HTTP/2 over mutual TLS in, plain HTTP/1.1 out."""
    context = {
        "@type": _TYPE + "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        "common_tls_context": _tls(folder, "server", "client"),
    }
    listener = _listener("0.0.0.0", ports.server, "app", "response" if exchange else "")
    listener["filter_chains"][0]["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": context}
    return _bootstrap(ports.server_admin, listener, _cluster("app", "127.0.0.1", app_port))


def _tls(folder: Path, who: str, peer: str) -> Object:
    exact = {"san_type": "URI", "matcher": {"exact": f"spiffe://cluster.local/ns/default/sa/{peer}"}}
    return {
        "alpn_protocols": ["h2"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificates": [
            {
                "certificate_chain": {"filename": str(folder / f"{who}.pem")},
                "private_key": {"filename": str(folder / f"{who}.key")},
            }
        ],
        "validation_context": {
            "trusted_ca": {"filename": str(folder / "roots.pem")},
            "match_typed_subject_alt_names": [exact],
        },
    }


def _exchange(sends: str) -> tuple[Object, Object, list[Object]]:
    """What a side that sends its header in `request` or `response` adds: to its route, its filter for the other's, its logger."""
    added = {f"{sends}_headers_to_add": [{"header": {"key": _HEADER, "value": _PEER}}]}
    takes = "response" if sends == "request" else "request"
    rule = {
        "header": _HEADER,
        "remove": True,
        "on_header_present": {"metadata_namespace": "peer", "key": "workload", "type": "STRING"},
    }
    taken = {
        "name": "envoy.filters.http.header_to_metadata",
        "typed_config": {
            "@type": _TYPE + "extensions.filters.http.header_to_metadata.v3.Config",
            f"{takes}_rules": [rule],
        },
    }
    other = (
        ("source_workload", "destination_workload")
        if takes == "request"
        else ("destination_workload", "source_workload")
    )
    varying = {
        other[0]: "%DYNAMIC_METADATA(peer:workload)%",
        other[1]: "own-v1",
        "response_code": "%RESPONSE_CODE%",
        "grpc_response_status": "%GRPC_STATUS%",
        "response_flags": "%RESPONSE_FLAGS%",
    }
    tags = [
        {"name": n, "value_format": v} for n, v in {**dict.fromkeys(_LITERAL, "a-literal-value"), **varying}.items()
    ]
    histograms = (
        ("request_duration_milliseconds", "Milliseconds", "%DURATION%"),
        ("request_bytes", "Bytes", "%BYTES_RECEIVED%"),
        ("response_bytes", "Bytes", "%BYTES_SENT%"),
    )
    logger = {
        "name": "envoy.access_loggers.stats",
        "typed_config": {
            "@type": _TYPE + "extensions.access_loggers.stats.v3.Config",
            "stats_scope": {"prefix": "istiocustom"},
            "counters": [{"stat": {"name": "istio_requests_total", "tags": tags}, "value_fixed": 1}],
            "histograms": [
                {"stat": {"name": f"istio_{name}", "tags": tags}, "unit": unit, "value_format": value}
                for name, unit, value in histograms
            ],
        },
    }
    return added, taken, [logger]


def _listener(address: str, port: int, cluster: str, sends: str) -> Object:
    added, taken, loggers = _exchange(sends) if sends else ({}, None, [])
    route = {"match": {"prefix": "/"}, "route": {"cluster": cluster}, **added}
    manager = {
        "@type": _TYPE + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": cluster,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "access_log": loggers,
        "http_filters": [
            *([taken] if taken else []),
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": _TYPE + "extensions.filters.http.router.v3.Router"},
            },
        ],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {"name": f"in_{port}", "address": _address(address, port), "filter_chains": [chain]}


def _cluster(name: str, address: str, port: int) -> Object:
    endpoint = {"endpoint": {"address": _address(address, port)}}
    return {
        "name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _address(address: str, port: int) -> Object:
    return {"socket_address": {"address": address, "port_value": port}}


def _bootstrap(admin: int, listener: Object, cluster: Object) -> Object:
    return {
        "admin": {"address": _address("127.0.0.1", admin)},
        "static_resources": {"listeners": [listener], "clusters": [cluster]},
    }
