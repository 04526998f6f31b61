"""Builds TLS contexts: of mutual TLS in the mesh (certificates from the agent's SDS) and of user settings (Secrets or files)."""

from __future__ import annotations

from functools import lru_cache

from envoy.config.core.v3 import base_pb2, config_source_pb2, grpc_service_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2
from envoy.type.matcher.v3 import string_pb2

from sailcloth.api.gateway import ServerTLSSettings
from sailcloth.envoy import names
from sailcloth.envoy.protobuf import duration, typed
from sailcloth.mesh.gateway_listeners import WORKLOAD
from sailcloth.mesh.tls_parameters import TlsParameters

_CIPHERS = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
)


@lru_cache(maxsize=256)
def sds(name: str, cluster: str = names.SDS_CLUSTER) -> secret_pb2.SdsSecretConfig:
    """A secret that is served on a UNIX socket: `default` (certificate and key) or `ROOTCA`."""
    source = config_source_pb2.ConfigSource(
        resource_api_version=config_source_pb2.V3,
        initial_fetch_timeout=duration(0),
        api_config_source=config_source_pb2.ApiConfigSource(
            api_type=config_source_pb2.ApiConfigSource.GRPC,
            transport_api_version=config_source_pb2.V3,
            set_node_on_first_message_only=True,
            grpc_services=[
                grpc_service_pb2.GrpcService(envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=cluster))
            ],
        ),
    )
    return secret_pb2.SdsSecretConfig(name=name, sds_config=source)


@lru_cache(maxsize=256)
def credential(name: str) -> secret_pb2.SdsSecretConfig:
    """A Kubernetes Secret that the control plane delivers over the proxy's own discovery stream, or the workload's certificate."""
    if name == WORKLOAD:
        return sds("default")
    source = config_source_pb2.ConfigSource(
        resource_api_version=config_source_pb2.V3,
        initial_fetch_timeout=duration(0),
        ads=config_source_pb2.AggregatedConfigSource(),
    )
    return secret_pb2.SdsSecretConfig(name=names.credential(name), sds_config=source)


def _version(name: str, default: str) -> common_pb2.TlsParameters.TlsProtocol.ValueType:
    """A version by Istio's name, such as TLSV1_2."""
    text = default if name in ("", "TLS_AUTO") else name
    return common_pb2.TlsParameters.TlsProtocol.Value(text.replace("TLSV", "TLSv"))


def _limits(limits: TlsParameters, ciphers: tuple[str, ...] = ()) -> common_pb2.TlsParameters:
    return common_pb2.TlsParameters(
        tls_minimum_protocol_version=_version(limits.min_version, "TLSV1_2"),
        tls_maximum_protocol_version=_version(limits.max_version, "TLSV1_3"),
        cipher_suites=limits.ciphers or ciphers,
        ecdh_curves=limits.curves,
    )


def mesh_context(
    protocols: tuple[str, ...],
    matchers: list[common_pb2.SubjectAltNameMatcher],
    limits: TlsParameters,
    ciphers: tuple[str, ...] = (),
) -> tls_pb2.CommonTlsContext:
    """The workload's certificate, the mesh's CA, and the identities that the peer must have (empty: any). `ciphers`: those of TLS 1.2
    if the limits name none."""
    return tls_pb2.CommonTlsContext(
        alpn_protocols=protocols,
        tls_params=_limits(limits, ciphers),
        tls_certificate_sds_secret_configs=[sds("default")],
        combined_validation_context=tls_pb2.CommonTlsContext.CombinedCertificateValidationContext(
            default_validation_context=common_pb2.CertificateValidationContext(match_typed_subject_alt_names=matchers),
            validation_context_sds_secret_config=sds("ROOTCA"),
        ),
    )


SYSTEM_ROOTS = "system"  # instead of a path: the system's CA certificates


def root_file(path: str, revoked: str | None, external: bool) -> secret_pb2.SdsSecretConfig:
    """CA certificates in a file of the proxy's container, and the file of a certificate revocation list if `revoked` is set."""
    return _file(f"file-root:{path}~{revoked}" if revoked else f"file-root:{path}", external)


def certificate_file(path: str, key: str, external: bool) -> secret_pb2.SdsSecretConfig:
    """A certificate and its key in files of the proxy's container."""
    return _file(f"file-cert:{path}~{key}", external)


def _file(name: str, external: bool) -> secret_pb2.SdsSecretConfig:
    """Files are the agent's to read, also where the workload's certificate is from an external server: then on the socket of xDS."""
    return sds(name, names.XDS_CLUSTER if external else names.SDS_CLUSTER)


def terminating_socket(
    tls: ServerTLSSettings, protocols: tuple[str, ...], defaults: TlsParameters, external: bool
) -> base_pb2.TransportSocket:
    """TLS of a server by user settings: SIMPLE, MUTUAL or OPTIONAL_MUTUAL, with certificates from Secrets or files. `external`: the
    workload's own certificate is from an external server."""
    common = tls_pb2.CommonTlsContext(alpn_protocols=protocols, tls_params=_parameters(tls, defaults))
    stored = tls.credential_names or ([tls.credential_name] if tls.credential_name else [])
    if stored:
        common.tls_certificate_sds_secret_configs.extend(credential(n) for n in stored)
    else:
        files = [(c.server_certificate, c.private_key) for c in tls.tls_certificates]
        files = files or [(tls.server_certificate, tls.private_key)]
        common.tls_certificate_sds_secret_configs.extend(certificate_file(c, k, external) for c, k in files if c and k)
    context = tls_pb2.DownstreamTlsContext(common_tls_context=common)
    if tls.mode in ("MUTUAL", "OPTIONAL_MUTUAL"):
        context.require_client_certificate.value = tls.mode == "MUTUAL"
        combined = context.common_tls_context.combined_validation_context
        validation = combined.default_validation_context
        validation.match_typed_subject_alt_names.extend(_alt_name(n) for n in tls.subject_alt_names)
        validation.verify_certificate_spki.extend(tls.verify_certificate_spki)
        validation.verify_certificate_hash.extend(tls.verify_certificate_hash)
        if tls.insecure_skip_verify:
            validation.trust_chain_verification = common_pb2.CertificateValidationContext.ACCEPT_UNTRUSTED
        validation.SetInParent()
        roots = tls.ca_certificates or next((c.ca_certificates for c in tls.tls_certificates if c.ca_certificates), "")
        if tls.ca_cert_credential_name:
            source = credential(tls.ca_cert_credential_name.removesuffix("-cacert") + "-cacert")
        elif stored:
            source = credential(stored[0].removesuffix("-cacert") + "-cacert")
        else:
            source = root_file(roots, tls.ca_crl, external)
        combined.validation_context_sds_secret_config.CopyFrom(source)
    return base_pb2.TransportSocket(**typed("envoy.transport_sockets.tls", context))


def _parameters(tls: ServerTLSSettings, defaults: TlsParameters) -> common_pb2.TlsParameters:
    """What the settings say comes before the mesh's defaults, but not before a policy."""
    if defaults.enforced:
        return _limits(defaults)
    own = TlsParameters(
        _set(tls.min_protocol_version) or defaults.min_version,
        _set(tls.max_protocol_version) or defaults.max_version,
        tuple(tls.ecdh_curves) or defaults.curves,
        tuple(tls.cipher_suites) or defaults.ciphers,
    )
    return _limits(own, _CIPHERS)


def _set(version: str | None) -> str:
    return "" if version in (None, "TLS_AUTO") else str(version)


def _alt_name(name: str) -> common_pb2.SubjectAltNameMatcher:
    kind = common_pb2.SubjectAltNameMatcher.URI if "://" in name else common_pb2.SubjectAltNameMatcher.DNS
    return common_pb2.SubjectAltNameMatcher(san_type=kind, matcher=string_pb2.StringMatcher(exact=name))


@lru_cache(maxsize=16)
def server_socket(
    trust_domains: tuple[str, ...], protocols: tuple[str, ...], limits: TlsParameters
) -> base_pb2.TransportSocket:
    """Mutual TLS for accepted connections: requires a client certificate of one of the trust domains."""
    matchers = [
        common_pb2.SubjectAltNameMatcher(
            san_type=common_pb2.SubjectAltNameMatcher.URI,
            matcher=string_pb2.StringMatcher(prefix=f"spiffe://{domain}/"),
        )
        for domain in trust_domains
    ]
    common = mesh_context(protocols, matchers, limits, _CIPHERS)
    context = tls_pb2.DownstreamTlsContext(common_tls_context=common)
    context.require_client_certificate.value = True
    return base_pb2.TransportSocket(**typed("envoy.transport_sockets.tls", context))


def client_context(
    *,
    roots: secret_pb2.SdsSecretConfig | None,
    certificate: secret_pb2.SdsSecretConfig | None,
    subject_alt_names: tuple[str, ...],
    verify: bool,
    protocols: tuple[str, ...],
    limits: TlsParameters,
) -> tls_pb2.CommonTlsContext:
    """TLS to a server outside the mesh. Verifies its certificate with the CA certificates, unless verification is off."""
    context = tls_pb2.CommonTlsContext(alpn_protocols=protocols, tls_params=_limits(limits))
    if certificate is not None:
        context.tls_certificate_sds_secret_configs.append(certificate)
    matchers = [_alt_name(n) for n in subject_alt_names]
    if verify and roots is not None:
        combined = context.combined_validation_context
        combined.default_validation_context.match_typed_subject_alt_names.extend(matchers)
        combined.default_validation_context.SetInParent()
        combined.validation_context_sds_secret_config.CopyFrom(roots)
    return context
