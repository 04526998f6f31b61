"""Gateway (networking.istio.io): servers of a proxy at the edge of the mesh."""

from __future__ import annotations

from typing import Annotated, Literal

from .meta import D, Object, PortNumber, Struct


class Port(Struct):
    """A port with its protocol."""

    number: Annotated[int, D("Port number.", ge=1, le=65535)]
    protocol: Annotated[str, D("HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, REDIS, MYSQL, TCP or TLS.")] = ""
    name: Annotated[str, D("Label of the port, unique in the object.")] = ""
    target_port: Annotated[PortNumber | None, D("Has no effect in a Gateway.")] = None


class TLSCertificate(Struct):
    """A certificate with its key, in files."""

    server_certificate: Annotated[str | None, D("File with the certificate.")] = None
    private_key: Annotated[str | None, D("File with the key.")] = None
    ca_certificates: Annotated[str | None, D("File with roots that verify clients.")] = None


class ServerTLSSettings(Struct):
    """TLS of a server."""

    https_redirect: Annotated[bool, D("Redirect plain HTTP requests to HTTPS.")] = False
    mode: Annotated[
        Literal["PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"] | None,
        D("TLS mode; default PASSTHROUGH."),
    ] = None
    server_certificate: Annotated[str | None, D("File with the server certificate.")] = None
    private_key: Annotated[str | None, D("File with the server key.")] = None
    ca_certificates: Annotated[str | None, D("File with roots that verify clients.")] = None
    ca_crl: Annotated[str | None, D("File with a certificate revocation list.")] = None
    credential_name: Annotated[str | None, D("Secret with key and certificate.")] = None
    credential_names: Annotated[tuple[str, ...], D("Secrets with keys and certificates, at most two.")] = ()
    ca_cert_credential_name: Annotated[str | None, D("Secret with CA certificates that verify clients.")] = None
    tls_certificates: Annotated[tuple[TLSCertificate, ...], D("Certificates in files, at most two.")] = ()
    subject_alt_names: Annotated[tuple[str, ...], D("Names of which a client's certificate must have one.")] = ()
    verify_certificate_spki: Annotated[tuple[str, ...], D("Accepted SPKI hashes.")] = ()
    verify_certificate_hash: Annotated[tuple[str, ...], D("Accepted certificate hashes.")] = ()
    insecure_skip_verify: Annotated[bool | None, D("Request a client certificate, but do not verify it.")] = None
    min_protocol_version: Annotated[str | None, D("TLS_AUTO, TLSV1_0 to TLSV1_3.")] = None
    max_protocol_version: Annotated[str | None, D("TLS_AUTO, TLSV1_0 to TLSV1_3.")] = None
    cipher_suites: Annotated[tuple[str, ...], D("Cipher suites in Envoy's names.")] = ()
    ecdh_curves: Annotated[tuple[str, ...], D("Key-exchange groups, such as X25519MLKEM768 and P-256.")] = ()


class Server(Struct):
    """One port that the proxy listens on."""

    port: Annotated[Port, D("Port to listen on.")]
    bind: Annotated[str | None, D("Address to listen on; default all.")] = None
    hosts: Annotated[tuple[str, ...], D("Exposed hosts as `[namespace/]name`; a leading wildcard is allowed.")] = ()
    tls: Annotated[ServerTLSSettings | None, D("TLS settings; needed for HTTPS and TLS.")] = None
    default_endpoint: Annotated[str | None, D("Accepted, not used.")] = None
    name: Annotated[str | None, D("Name used in statistics.")] = None


class GatewaySpec(Struct):
    """Servers, and the proxies that run them."""

    servers: Annotated[tuple[Server, ...], D("Ports to listen on.")] = ()
    selector: Annotated[dict[str, str], D("Labels of the gateway's pods.")] = {}


class Gateway(Object):
    """A load balancer at the edge of the mesh."""

    spec: GatewaySpec = GatewaySpec()
