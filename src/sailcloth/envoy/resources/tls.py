"""TLS contexts: the mesh's own (certificates over SDS from the agent's socket) and others (files)."""

from __future__ import annotations

from functools import lru_cache

from envoy.config.core.v3 import base_pb2, config_source_pb2, grpc_service_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2
from envoy.type.matcher.v3 import string_pb2

from sailcloth.envoy import names
from sailcloth.envoy.protobuf import duration, typed

_CIPHERS = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
)


@lru_cache(maxsize=16)
def sds(name: str) -> secret_pb2.SdsSecretConfig:
    """A secret that the agent serves on its UNIX socket: `default` (certificate and key) or `ROOTCA`."""
    source = config_source_pb2.ConfigSource(
        resource_api_version=config_source_pb2.V3,
        initial_fetch_timeout=duration(0),
        api_config_source=config_source_pb2.ApiConfigSource(
            api_type=config_source_pb2.ApiConfigSource.GRPC,
            transport_api_version=config_source_pb2.V3,
            set_node_on_first_message_only=True,
            grpc_services=[
                grpc_service_pb2.GrpcService(
                    envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=names.SDS_CLUSTER)
                )
            ],
        ),
    )
    return secret_pb2.SdsSecretConfig(name=name, sds_config=source)


def mesh_context(
    protocols: tuple[str, ...], matchers: list[common_pb2.SubjectAltNameMatcher]
) -> tls_pb2.CommonTlsContext:
    """The workload's own certificate, the mesh's roots, and the names that the peer must have (none: any)."""
    return tls_pb2.CommonTlsContext(
        alpn_protocols=protocols,
        tls_params=common_pb2.TlsParameters(
            tls_minimum_protocol_version=common_pb2.TlsParameters.TLSv1_2,
            tls_maximum_protocol_version=common_pb2.TlsParameters.TLSv1_3,
        ),
        tls_certificate_sds_secret_configs=[sds("default")],
        combined_validation_context=tls_pb2.CommonTlsContext.CombinedCertificateValidationContext(
            default_validation_context=common_pb2.CertificateValidationContext(match_typed_subject_alt_names=matchers),
            validation_context_sds_secret_config=sds("ROOTCA"),
        ),
    )


@lru_cache(maxsize=16)
def server_socket(trust_domain: str, protocols: tuple[str, ...]) -> base_pb2.TransportSocket:
    """Mutual TLS for accepted connections: a client certificate of the trust domain is required."""
    matcher = common_pb2.SubjectAltNameMatcher(
        san_type=common_pb2.SubjectAltNameMatcher.URI,
        matcher=string_pb2.StringMatcher(prefix=f"spiffe://{trust_domain}/"),
    )
    common = mesh_context(protocols, [matcher])
    common.tls_params.cipher_suites.extend(_CIPHERS)
    context = tls_pb2.DownstreamTlsContext(common_tls_context=common)
    context.require_client_certificate.value = True
    return base_pb2.TransportSocket(**typed("envoy.transport_sockets.tls", context))


def client_context(
    roots: str,
    certificate: str,
    key: str,
    subject_alt_names: tuple[str, ...],
    verify: bool,
    protocols: tuple[str, ...],
) -> tls_pb2.CommonTlsContext:
    """TLS to a server outside the mesh: the system's roots unless a file is named; no verification only on demand."""
    out = tls_pb2.CommonTlsContext(
        alpn_protocols=protocols,
        tls_params=common_pb2.TlsParameters(
            tls_minimum_protocol_version=common_pb2.TlsParameters.TLSv1_2,
            tls_maximum_protocol_version=common_pb2.TlsParameters.TLSv1_3,
        ),
    )
    if certificate:
        out.tls_certificates.add(
            certificate_chain=base_pb2.DataSource(filename=certificate), private_key=base_pb2.DataSource(filename=key)
        )
    if verify:
        validation = out.validation_context
        if roots:
            validation.trusted_ca.filename = roots
        else:
            validation.system_root_certs.SetInParent()
        for name in subject_alt_names:
            kind = common_pb2.SubjectAltNameMatcher.URI if "://" in name else common_pb2.SubjectAltNameMatcher.DNS
            validation.match_typed_subject_alt_names.add(san_type=kind, matcher=string_pb2.StringMatcher(exact=name))
    return out
