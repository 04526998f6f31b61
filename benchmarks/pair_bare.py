"""The yardstick of `pair`: two Envoys with mutual TLS and one route each, and nothing that they could do without.

The protocol choices are those of a Sailcloth mesh, because they are not what is compared: HTTP/1.1 from the client and to the
server, one HTTP/2 connection over mutual TLS 1.3 between the proxies, P-256 certificates with SPIFFE names that both sides
check, one worker thread. Everything else is Envoy's default: no capture, no inspectors, no control plane, no access log.
"""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Object = dict[str, Any]
_TYPE = "type.googleapis.com/envoy."
CLIENT_PORT, SERVER_PORT, CLIENT_ADMIN, SERVER_ADMIN = 19001, 19443, 19000, 19002


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


def write(folder: Path, server: str, app_port: int) -> dict[str, Path]:
    """Certificates and both bootstraps; `server` is the address of the server's pod. Returns the bootstraps' paths."""
    certificates(folder)
    made = {"client": client(folder, server), "server": server_side(folder, app_port)}
    paths = {}
    for who, config in made.items():
        paths[who] = folder / f"{who}.json"
        paths[who].write_text(json.dumps(config, indent=1))
    return paths


def client(folder: Path, server: str) -> Object:
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
        **_cluster("server", server, SERVER_PORT),
        "typed_extension_protocol_options": http2,
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context},
    }
    return _bootstrap(CLIENT_ADMIN, _listener("127.0.0.1", CLIENT_PORT, "server"), upstream)


def server_side(folder: Path, app_port: int) -> Object:
    """HTTP/2 over mutual TLS in, plain HTTP/1.1 out."""
    context = {
        "@type": _TYPE + "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        "common_tls_context": _tls(folder, "server", "client"),
    }
    listener = _listener("0.0.0.0", SERVER_PORT, "app")
    listener["filter_chains"][0]["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": context}
    return _bootstrap(SERVER_ADMIN, listener, _cluster("app", "127.0.0.1", app_port))


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


def _listener(address: str, port: int, cluster: str) -> Object:
    route = {"match": {"prefix": "/"}, "route": {"cluster": cluster}}
    manager = {
        "@type": _TYPE + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": cluster,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": _TYPE + "extensions.filters.http.router.v3.Router"},
            }
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
