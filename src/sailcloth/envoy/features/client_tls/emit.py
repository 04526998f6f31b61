"""Upstream TLS as Envoy protobuf. Pure."""

from __future__ import annotations

from functools import lru_cache

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2, proxy_protocol_pb2
from envoy.extensions.transport_sockets.proxy_protocol.v3 import upstream_proxy_protocol_pb2 as upstream_pb2
from envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, tls_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2 as options_pb
from envoy.type.matcher.v3 import string_pb2
from google.protobuf import struct_pb2

from sailcloth.api.destination_rule import ClientTLSSettings
from sailcloth.envoy import names
from sailcloth.envoy.protobuf import pack, typed
from sailcloth.envoy.resources import tls
from sailcloth.mesh.tls_parameters import TlsParameters
from sailcloth.view.clusters import ClusterPlan

_TLS = "envoy.transport_sockets.tls"
ALPN_H2 = ("istio-h2", "istio", "h2")
ALPN_HTTP = ("istio-http/1.1", "istio", "http/1.1")
ALPN_TCP = ("istio",)


def cluster(plan: ClusterPlan, out: cluster_pb2.Cluster) -> None:
    """Sets `transport_socket` or `transport_socket_matches`."""
    settings = plan.policy.tls
    if settings is None or settings.mode == "ISTIO_MUTUAL":
        if plan.auto_mtls is None:
            return
        sni = (settings.sni if settings else None) or names.sni(plan.id)
        identities = (
            tuple(settings.subject_alt_names) if settings and settings.subject_alt_names else plan.auto_mtls.identities
        )
        socket = mesh_socket(sni, identities, alpn(plan), plan.config.mesh_tls)
        if settings is not None or (plan.auto_mtls.all and not plan.endpoints and plan.resolution == "PASSTHROUGH"):
            out.transport_socket.CopyFrom(socket)
            return
        match = out.transport_socket_matches.add(name="tlsMode-istio", transport_socket=socket)
        match.match.fields["tlsMode"].string_value = "istio"
        out.transport_socket_matches.append(_plain_match())
    elif settings.mode in ("SIMPLE", "MUTUAL"):
        out.transport_socket.CopyFrom(_external(settings, plan))
        if not settings.sni:
            _verify_request_host(settings, out)


def _verify_request_host(settings: ClientTLSSettings, out: cluster_pb2.Cluster) -> None:
    """Use a request's host as SNI, and verify the certificate for it, unless the rule sets them. TCP connections use the endpoint's
    hostname, if it has one."""
    options = options_pb.HttpProtocolOptions()
    if names.HTTP_PROTOCOL_OPTIONS in out.typed_extension_protocol_options:
        out.typed_extension_protocol_options[names.HTTP_PROTOCOL_OPTIONS].Unpack(options)
    else:
        options.explicit_http_config.http_protocol_options.SetInParent()
    options.upstream_http_protocol_options.auto_sni = True
    verify = not settings.insecure_skip_verify and not settings.subject_alt_names
    options.upstream_http_protocol_options.auto_san_validation = verify
    out.typed_extension_protocol_options[names.HTTP_PROTOCOL_OPTIONS].CopyFrom(pack(options))


def proxy_protocol(plan: ClusterPlan, out: cluster_pb2.Cluster) -> None:
    """Wraps the transport socket to start every connection with a PROXY protocol header."""
    settings = plan.policy.proxy_protocol
    if settings is None:
        return
    version = (
        proxy_protocol_pb2.ProxyProtocolConfig.V2
        if settings.version == "V2"
        else proxy_protocol_pb2.ProxyProtocolConfig.V1
    )
    sockets = [m.transport_socket for m in out.transport_socket_matches]
    if not sockets:
        if not out.HasField("transport_socket"):
            raw = base_pb2.TransportSocket(**typed("envoy.transport_sockets.raw_buffer", raw_buffer_pb2.RawBuffer()))
            out.transport_socket.CopyFrom(raw)
        sockets = [out.transport_socket]
    for socket in sockets:
        inner = base_pb2.TransportSocket()
        inner.CopyFrom(socket)
        config = proxy_protocol_pb2.ProxyProtocolConfig(version=version)
        transport = upstream_pb2.ProxyProtocolUpstreamTransport(config=config, transport_socket=inner)
        socket.CopyFrom(base_pb2.TransportSocket(**typed("envoy.transport_sockets.upstream_proxy_protocol", transport)))


def alpn(plan: ClusterPlan) -> tuple[str, ...]:
    """The ALPN protocols that a cluster offers in mutual TLS of the mesh."""
    if plan.upgrade_http2 or plan.port.protocol.is_http2:
        return ALPN_H2
    return ALPN_HTTP if plan.port.protocol.is_http else ALPN_TCP


def mesh_socket(
    sni: str, identities: tuple[str, ...], protocols: tuple[str, ...], limits: TlsParameters
) -> base_pb2.TransportSocket:
    """Mutual TLS with the workload's certificate; the server must have one of the identities (empty: any in the mesh)."""
    context = tls_pb2.UpstreamTlsContext(sni=sni, common_tls_context=_mesh_context(identities, protocols, limits))
    return base_pb2.TransportSocket(**typed(_TLS, context))


@lru_cache(maxsize=4096)
def _mesh_context(
    identities: tuple[str, ...], protocols: tuple[str, ...], limits: TlsParameters
) -> tls_pb2.CommonTlsContext:
    matchers = [
        common_pb2.SubjectAltNameMatcher(
            san_type=common_pb2.SubjectAltNameMatcher.URI, matcher=string_pb2.StringMatcher(exact=i)
        )
        for i in identities
    ]
    return tls.mesh_context(protocols, matchers, limits)


@lru_cache(maxsize=1)
def _plain_match() -> cluster_pb2.Cluster.TransportSocketMatch:
    return cluster_pb2.Cluster.TransportSocketMatch(
        name="tlsMode-disabled",
        match=struct_pb2.Struct(),
        transport_socket=base_pb2.TransportSocket(
            **typed("envoy.transport_sockets.raw_buffer", raw_buffer_pb2.RawBuffer())
        ),
    )


def _external(settings: ClientTLSSettings, plan: ClusterPlan) -> base_pb2.TransportSocket:
    mutual = settings.mode == "MUTUAL"
    roots = certificate = None
    if settings.credential_name and plan.credentials:
        roots = tls.credential(settings.credential_name.removesuffix("-cacert") + "-cacert")
        certificate = tls.credential(settings.credential_name) if mutual else None
    else:
        roots = tls.root_file(settings.ca_certificates or tls.SYSTEM_ROOTS, settings.ca_crl, plan.external_sds)
        if mutual and settings.client_certificate and settings.private_key:
            certificate = tls.certificate_file(settings.client_certificate, settings.private_key, plan.external_sds)
    if plan.own_certificate:
        certificate = tls.credential(plan.own_certificate)
    verify = not settings.insecure_skip_verify
    common = tls.client_context(
        roots=roots,
        certificate=certificate,
        subject_alt_names=tuple(settings.subject_alt_names) or plan.service.subject_alt_names,
        verify=verify,
        protocols=("h2",) if plan.port.protocol.is_http2 else (),
        limits=plan.config.tls_defaults,
    )
    context = tls_pb2.UpstreamTlsContext(sni=settings.sni or "", common_tls_context=common)
    if not settings.sni:
        context.auto_host_sni = True
        context.auto_sni_san_validation = not settings.subject_alt_names and verify
    return base_pb2.TransportSocket(**typed(_TLS, context))
