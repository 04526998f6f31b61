"""MeshConfig: the ConfigMap `istio`, key `mesh`, as far as it is read. Other options have no effect, and `unread` names them."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from sailcloth.api.destination_rule import (
    ConnectionPoolSettings,
    LocalityLbSetting,
    OutlierDetection,
    TcpKeepalive,
)
from sailcloth.api.extension_provider import DefaultProviders
from sailcloth.api.meta import duration_ms
from sailcloth.api.validation import formats
from sailcloth.api.virtual_service import HTTPRetry
from sailcloth.lib import bounded_yaml, label_selector
from sailcloth.lib.x509_errors import as_value_errors
from sailcloth.mesh import extension_providers, proxy_configs, tls_parameters
from sailcloth.mesh.model import MeshConfig

T = TypeVar("T")
_NORMALIZATIONS = ("NONE", "BASE", "DEFAULT", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES")


def parse(text: str, base: MeshConfig | None = None) -> MeshConfig:
    """The options of a MeshConfig text, with defaults. Raises ValueError that names the wrong option."""
    try:
        options: Any = bounded_yaml.load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"MeshConfig is not YAML: {' '.join(str(error).split())}") from None
    options = {} if options is None else options
    if not isinstance(options, dict):
        raise ValueError("MeshConfig must be a YAML object")
    old = base or MeshConfig()
    policy = _object(options, "outboundTrafficPolicy")
    inbound = _object(options, "inboundTrafficPolicy") or {}
    mesh_tls, tls_defaults = tls_parameters.parse(options, old.compliance_policy)
    # An outboundTrafficPolicy without a mode is REGISTRY_ONLY: that is the first value of Istio's enumeration.
    mode = old.outbound_mode if policy is None else str(policy.get("mode", "REGISTRY_ONLY"))
    if mode not in ("REGISTRY_ONLY", "ALLOW_ANY", "ALLOW_ANY_DYNAMIC_DNS"):
        raise ValueError(f"MeshConfig outboundTrafficPolicy.mode: {mode!r}; use REGISTRY_ONLY or ALLOW_ANY")
    return MeshConfig(
        trust_domain=str(options.get("trustDomain") or old.trust_domain),
        trust_domain_aliases=_texts(options, "trustDomainAliases", old.trust_domain_aliases),
        domain=old.domain,
        root_namespace=str(options.get("rootNamespace") or old.root_namespace),
        enable_auto_mtls=bool(options.get("enableAutoMtls", old.enable_auto_mtls)),
        outbound_mode=mode,
        inbound_mode=str(inbound.get("mode") or old.inbound_mode),
        connect_timeout_ms=_milliseconds(options, "connectTimeout", old.connect_timeout_ms) or old.connect_timeout_ms,
        detection_timeout_ms=_milliseconds(options, "protocolDetectionTimeout", old.detection_timeout_ms),
        access_log_file=str(options.get("accessLogFile", old.access_log_file) or ""),
        access_log_format=_format(options, old.access_log_format),
        access_log_json=_choice(options, "accessLogEncoding", ("TEXT", "JSON"), "TEXT") == "JSON",
        retries=_typed(options, "defaultHttpRetryPolicy", HTTPRetry, old.retries),
        inbound_retries=_typed(options, "defaultInboundHttpRetryPolicy", HTTPRetry, old.inbound_retries),
        connection_pool=_default_policy(options, "connectionPool", ConnectionPoolSettings, old.connection_pool),
        outlier_detection=_default_policy(options, "outlierDetection", OutlierDetection, old.outlier_detection),
        keepalive=_typed(options, "tcpKeepalive", TcpKeepalive, old.keepalive),
        h2_upgrade=_choice(options, "h2UpgradePolicy", ("UPGRADE", "DO_NOT_UPGRADE"), old.h2_upgrade),
        path_normalization=_normalization(options.get("pathNormalization"), old.path_normalization),
        merge_virtual_services=_choice(
            options, "virtualServiceMerging", ("MERGE", "OLDEST_WINS"), "MERGE" if old.merge_virtual_services else ""
        )
        == "MERGE",
        sidecar_clusters=_choice(options, "sidecarClusters", ("ALL", "ON_DEMAND"), old.sidecar_clusters),
        proxy_defaults=_proxy_defaults(options.get("defaultConfig"), old.proxy_defaults),
        rate_limit_store=_store(options, old.rate_limit_store),
        ingress_service=str(options.get("ingressService") or old.ingress_service),
        default_export=_texts(options, "defaultServiceExportTo", old.default_export),
        rule_export=_texts(options, "defaultVirtualServiceExportTo", old.rule_export),
        locality=_typed(options, "localityLbSetting", LocalityLbSetting, old.locality),
        default_providers=_typed(options, "defaultProviders", DefaultProviders, old.default_providers),
        extension_providers=extension_providers.parse(options.get("extensionProviders"), old.extension_providers),
        blocked_key_networks=_networks(options, "blockedCidrsInJwksUris", old.blocked_key_networks),
        ca_certificates=_roots(options, old.ca_certificates),
        compliance_policy=old.compliance_policy,
        mesh_tls=mesh_tls,
        tls_defaults=tls_defaults,
        discovery_selectors=_selectors(options, old.discovery_selectors),
        destination_export=_texts(options, "defaultDestinationRuleExportTo", old.destination_export),
    )


READ = frozenset(
    (
        "accessLogEncoding",
        "accessLogFile",
        "accessLogFormat",
        "blockedCidrsInJwksUris",
        "caCertificates",
        "connectTimeout",
        "defaultConfig",
        "defaultDestinationRuleExportTo",
        "defaultHttpRetryPolicy",
        "defaultProviders",
        "defaultInboundHttpRetryPolicy",
        "defaultServiceExportTo",
        "defaultTrafficPolicy",
        "defaultVirtualServiceExportTo",
        "discoverySelectors",
        "enableAutoMtls",
        "extensionProviders",
        "globalRateLimitStore",
        "h2UpgradePolicy",
        "inboundTrafficPolicy",
        "ingressService",
        "localityLbSetting",
        "meshMTLS",
        "outboundTrafficPolicy",
        "pathNormalization",
        "protocolDetectionTimeout",
        "rootNamespace",
        "sidecarClusters",
        "tcpKeepalive",
        "tlsDefaults",
        "trustDomain",
        "trustDomainAliases",
        "virtualServiceMerging",
    )
)
"""Names of the options that have an effect."""


def unread(text: str) -> tuple[str, ...]:
    """Names of the options in a MeshConfig text that have no effect, sorted. Raises ValueError if the text is no object."""
    parse(text)
    given = bounded_yaml.load(text) or {}
    names = [str(name) for name in given if name not in READ]
    for provider in given.get("extensionProviders") or ():
        names += [
            f"extensionProviders[{provider.get('name')}].{kind}"
            for kind in provider
            if kind not in extension_providers.READ
        ]
    names += [f"defaultConfig.{name}" for name in proxy_configs.unread(given.get("defaultConfig") or {})]
    return tuple(sorted(names))


def _format(given: dict[str, Any], old: str) -> str:
    """The format of access logs. Envoy refuses every listener for one command that it does not know."""
    text = str(given.get("accessLogFormat", old) or "")
    if text != old and (problem := formats.problem(text)):
        raise ValueError(f"MeshConfig accessLogFormat: {problem}")
    return text


def _store(options: dict[str, Any], old: str) -> str:
    url = str(options.get("globalRateLimitStore", old) or "")
    try:
        parts = urlsplit(url)
        wrong = bool(url) and (parts.scheme not in ("redis", "rediss") or not parts.hostname or parts.port == 0)
    except ValueError:
        wrong = True
    if wrong:
        raise ValueError(f"MeshConfig globalRateLimitStore: {url!r}; use redis://HOST:PORT or rediss://HOST:PORT")
    if parts.password:
        raise ValueError(
            "MeshConfig globalRateLimitStore: a ConfigMap must not contain a password; "
            "put it into the Secret global-rate-limit-store (keys username and password)"
        )
    return url


def _roots(options: dict[str, Any], old: tuple[str, ...]) -> tuple[str, ...]:
    """The certificates of `caCertificates`, as PEM."""
    given = options.get("caCertificates")
    if given is None:
        return old
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise ValueError("MeshConfig caCertificates: must be a list of objects")
    out = []
    for index, each in enumerate(given):
        text = each.get("pem")
        try:
            with as_value_errors():
                certificates = x509.load_pem_x509_certificates(str(text or "").encode())
        except ValueError:
            name = f"MeshConfig caCertificates[{index}].pem"
            raise ValueError(f"{name}: no certificate in PEM; bundles by URL are not fetched") from None
        out += [c.public_bytes(serialization.Encoding.PEM).decode() for c in certificates]
    return tuple(out)


def _proxy_defaults(defaults: Any, old: str) -> str:
    if defaults is None:
        return old
    if not isinstance(defaults, dict) or not isinstance(defaults.get("proxyMetadata") or {}, dict):
        raise ValueError("MeshConfig defaultConfig: it and its proxyMetadata must be objects")
    try:
        return json.dumps(defaults, sort_keys=True, default=str)
    except TypeError:
        raise ValueError("MeshConfig defaultConfig: a name in it is no text") from None


def _object(options: dict[str, Any], name: str) -> dict[str, Any] | None:
    value = options.get(name)
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"MeshConfig {name}: {value!r:.40} is no object, such as {{mode: …}}")
    return value


def _milliseconds(options: dict[str, Any], name: str, old: float) -> float:
    try:
        return old if options.get(name) is None else duration_ms(str(options[name])) or 0.0
    except ValueError as error:
        raise ValueError(f"MeshConfig {name}: {error}") from None


def _texts(options: dict[str, Any], name: str, old: tuple[str, ...]) -> tuple[str, ...]:
    values = options.get(name)
    if values is None:
        return old
    if not isinstance(values, list):
        raise ValueError(f"MeshConfig {name}: must be a list")
    return tuple(str(text) for text in values) or old


def _selectors(options: dict[str, Any], old: tuple[Mapping[str, Any], ...]) -> tuple[Mapping[str, Any], ...]:
    """Label selectors of namespaces. A wrong one must not select too little: the mesh would lose what is not selected."""
    values = options.get("discoverySelectors")
    if values is None:
        return old
    if not isinstance(values, list):
        raise ValueError("MeshConfig discoverySelectors: must be a list of label selectors")
    for i, selector in enumerate(values):
        if problem := label_selector.problem(selector):
            raise ValueError(f"MeshConfig discoverySelectors[{i}]{problem}")
    return tuple(values)


def _networks(options: dict[str, Any], name: str, old: tuple[str, ...]) -> tuple[str, ...]:
    """Networks as CIDRs; an empty list is kept, unlike for other options."""
    values = _texts(options, name, old) if options.get(name) != [] else ()
    try:
        return tuple(str(ipaddress.ip_network(value, strict=False)) for value in values)
    except ValueError as error:
        raise ValueError(f"MeshConfig {name}: {error}") from None


def _choice(options: dict[str, Any], name: str, values: tuple[str, ...], old: str) -> str:
    value = options.get(name)
    if value is None:
        return old
    if value not in values:
        raise ValueError(f"MeshConfig {name}: {value!r}; use {' or '.join(values)}")
    return str(value)


def _typed(options: dict[str, Any], name: str, kind: type[T], old: T | None) -> T | None:
    if options.get(name) is None:
        return old
    try:
        return msgspec.convert(options[name], kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"MeshConfig {name}: {error}") from None


def _default_policy(options: dict[str, Any], block: str, kind: type[T], old: T | None) -> T | None:
    """One block of `defaultTrafficPolicy`."""
    policy = options.get("defaultTrafficPolicy")
    if policy is None:
        return old
    if not isinstance(policy, dict):
        raise ValueError("MeshConfig defaultTrafficPolicy: must be an object")
    try:
        return _typed(policy, block, kind, None)
    except ValueError as error:
        raise ValueError(str(error).replace("MeshConfig ", "MeshConfig defaultTrafficPolicy.", 1)) from None


def _normalization(options: Any, old: str) -> str:
    value = (options or {}).get("normalization") if isinstance(options, dict) or options is None else options
    return _choice({"pathNormalization": value}, "pathNormalization", _NORMALIZATIONS, old)
