"""MeshConfig: the ConfigMap `istio`, key `mesh`, as far as it is read. Other options have no effect, and `unread` names them."""

from __future__ import annotations

import json
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
import yaml

from sailcloth.api.destination_rule import LocalityLbSetting, TcpKeepalive
from sailcloth.api.meta import duration_ms
from sailcloth.api.validation import formats
from sailcloth.api.virtual_service import HTTPRetry
from sailcloth.lib import bounded_yaml
from sailcloth.mesh.model import MeshConfig

T = TypeVar("T")
_NORMALIZATIONS = ("NONE", "BASE", "DEFAULT", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES")


def parse(text: str, base: MeshConfig | None = None) -> MeshConfig:
    """The options of a MeshConfig text over defaults. Raises ValueError with the option that is wrong."""
    try:
        given: Any = bounded_yaml.load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"MeshConfig is not YAML: {' '.join(str(error).split())}") from None
    given = {} if given is None else given
    if not isinstance(given, dict):
        raise ValueError("MeshConfig must be a YAML object")
    old = base or MeshConfig()
    policy = given.get("outboundTrafficPolicy")
    inbound = given.get("inboundTrafficPolicy") or {}
    # An outboundTrafficPolicy without a mode is REGISTRY_ONLY: that is the first value of Istio's enumeration.
    mode = old.outbound_mode if policy is None else str((policy or {}).get("mode", "REGISTRY_ONLY"))
    if mode not in ("REGISTRY_ONLY", "ALLOW_ANY", "ALLOW_ANY_DYNAMIC_DNS"):
        raise ValueError(f"MeshConfig outboundTrafficPolicy.mode: {mode!r}; use REGISTRY_ONLY or ALLOW_ANY")
    return MeshConfig(
        trust_domain=str(given.get("trustDomain") or old.trust_domain),
        trust_domain_aliases=_texts(given, "trustDomainAliases", old.trust_domain_aliases),
        domain=old.domain,
        root_namespace=str(given.get("rootNamespace") or old.root_namespace),
        enable_auto_mtls=bool(given.get("enableAutoMtls", old.enable_auto_mtls)),
        outbound_mode=mode,
        inbound_mode=str(inbound.get("mode") or old.inbound_mode),
        connect_timeout_ms=_milliseconds(given, "connectTimeout", old.connect_timeout_ms) or old.connect_timeout_ms,
        detection_timeout_ms=_milliseconds(given, "protocolDetectionTimeout", old.detection_timeout_ms),
        access_log_file=str(given.get("accessLogFile", old.access_log_file) or ""),
        access_log_format=_format(given, old.access_log_format),
        access_log_json=_choice(given, "accessLogEncoding", ("TEXT", "JSON"), "TEXT") == "JSON",
        retries=_typed(given, "defaultHttpRetryPolicy", HTTPRetry, old.retries),
        keepalive=_typed(given, "tcpKeepalive", TcpKeepalive, old.keepalive),
        h2_upgrade=_choice(given, "h2UpgradePolicy", ("UPGRADE", "DO_NOT_UPGRADE"), old.h2_upgrade),
        path_normalization=_normalization(given.get("pathNormalization"), old.path_normalization),
        merge_virtual_services=_choice(
            given, "virtualServiceMerging", ("MERGE", "OLDEST_WINS"), "MERGE" if old.merge_virtual_services else ""
        )
        == "MERGE",
        sidecar_clusters=_choice(given, "sidecarClusters", ("ALL", "ON_DEMAND"), old.sidecar_clusters),
        proxy_defaults=_proxy_defaults(given.get("defaultConfig"), old.proxy_defaults),
        rate_limit_store=_store(given, old.rate_limit_store),
        ingress_service=str(given.get("ingressService") or old.ingress_service),
        default_export=_texts(given, "defaultServiceExportTo", old.default_export),
        rule_export=_texts(given, "defaultVirtualServiceExportTo", old.rule_export),
        locality=_typed(given, "localityLbSetting", LocalityLbSetting, old.locality),
        destination_export=_texts(given, "defaultDestinationRuleExportTo", old.destination_export),
    )


# Options that are read here, and those of `defaultConfig` and `defaultProviders` that injection and proxies read themselves.
_READ = frozenset(
    (
        "accessLogEncoding",
        "accessLogFile",
        "accessLogFormat",
        "connectTimeout",
        "defaultConfig",
        "defaultDestinationRuleExportTo",
        "defaultHttpRetryPolicy",
        "defaultServiceExportTo",
        "defaultVirtualServiceExportTo",
        "enableAutoMtls",
        "globalRateLimitStore",
        "h2UpgradePolicy",
        "inboundTrafficPolicy",
        "ingressService",
        "localityLbSetting",
        "outboundTrafficPolicy",
        "pathNormalization",
        "protocolDetectionTimeout",
        "rootNamespace",
        "sidecarClusters",
        "tcpKeepalive",
        "trustDomain",
        "trustDomainAliases",
        "virtualServiceMerging",
        "defaultConfig",
        "outboundTrafficPolicy",
        "inboundTrafficPolicy",
        "pathNormalization",
        "discoveryAddress",
    )
)


def unread(text: str) -> tuple[str, ...]:
    """Names of the options in a MeshConfig text that have no effect, sorted. Raises ValueError if the text is no object."""
    parse(text)
    given = bounded_yaml.load(text) or {}
    return tuple(sorted(str(name) for name in given if name not in _READ))


def _format(given: dict[str, Any], old: str) -> str:
    """The format of access logs. Envoy refuses every listener for one command that it does not know."""
    text = str(given.get("accessLogFormat", old) or "")
    if text != old and (problem := formats.problem(text)):
        raise ValueError(f"MeshConfig accessLogFormat: {problem}")
    return text


def _store(given: dict[str, Any], old: str) -> str:
    found = str(given.get("globalRateLimitStore", old) or "")
    try:
        parts = urlsplit(found)
        wrong = bool(found) and (parts.scheme not in ("redis", "rediss") or not parts.hostname or parts.port == 0)
    except ValueError:
        wrong = True
    if wrong:
        raise ValueError(f"MeshConfig globalRateLimitStore: {found!r}; use redis://HOST:PORT or rediss://HOST:PORT")
    if parts.password:
        raise ValueError(
            "MeshConfig globalRateLimitStore: a password has no place in a ConfigMap; "
            "put it into the Secret global-rate-limit-store (keys username and password)"
        )
    return found


def _proxy_defaults(found: Any, old: str) -> str:
    if found is None:
        return old
    if not isinstance(found, dict) or not isinstance(found.get("proxyMetadata") or {}, dict):
        raise ValueError("MeshConfig defaultConfig: it and its proxyMetadata must be objects")
    return json.dumps(found, sort_keys=True, default=str)


def _milliseconds(given: dict[str, Any], name: str, old: float) -> float:
    try:
        return old if given.get(name) is None else duration_ms(str(given[name])) or 0.0
    except ValueError as error:
        raise ValueError(f"MeshConfig {name}: {error}") from None


def _texts(given: dict[str, Any], name: str, old: tuple[str, ...]) -> tuple[str, ...]:
    found = given.get(name)
    if found is None:
        return old
    if not isinstance(found, list):
        raise ValueError(f"MeshConfig {name}: must be a list")
    return tuple(str(text) for text in found) or old


def _choice(given: dict[str, Any], name: str, values: tuple[str, ...], old: str) -> str:
    found = given.get(name)
    if found is None:
        return old
    if found not in values:
        raise ValueError(f"MeshConfig {name}: {found!r}; use {' or '.join(values)}")
    return str(found)


def _typed(given: dict[str, Any], name: str, kind: type[T], old: T | None) -> T | None:
    if given.get(name) is None:
        return old
    try:
        return msgspec.convert(given[name], kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"MeshConfig {name}: {error}") from None


def _normalization(given: Any, old: str) -> str:
    found = (given or {}).get("normalization") if isinstance(given, dict) or given is None else given
    return _choice({"pathNormalization": found}, "pathNormalization", _NORMALIZATIONS, old)
