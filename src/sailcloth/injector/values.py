"""What the values of an installation say about injection, as Istio's Helm charts name them. Must not read files.

Sources: `--valuesFile` of `kube-inject`, and the keys `values` and `config` of the ConfigMap `istio-sidecar-injector`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import yaml

from sailcloth.lib import bounded_yaml

from .config import InjectorConfig

Object = Mapping[str, Any]

_TEXTS = {
    "revision": ("revision",),
    "image_pull_policy": ("global", "imagePullPolicy"),
    "domain": ("global", "proxy", "clusterDomain"),
    "trust_domain": ("global", "trustDomain"),
    "cluster_id": ("global", "multiCluster", "clusterName"),
    "mesh_id": ("global", "meshID"),
    "network": ("global", "network"),
    "ca_address": ("global", "caAddress"),
    "log_level": ("global", "proxy", "logLevel"),
    "component_log_level": ("global", "proxy", "componentLogLevel"),
    "agent_log_level": ("global", "logging", "level"),
    "included_ranges": ("global", "proxy", "includeIPRanges"),
    "excluded_ranges": ("global", "proxy", "excludeIPRanges"),
    "included_inbound_ports": ("global", "proxy", "includeInboundPorts"),
    "excluded_inbound_ports": ("global", "proxy", "excludeInboundPorts"),
    "included_outbound_ports": ("global", "proxy", "includeOutboundPorts"),
    "excluded_outbound_ports": ("global", "proxy", "excludeOutboundPorts"),
}
_FLAGS = {
    "hold_application": ("global", "proxy", "holdApplicationUntilProxyStarts"),
    "native_sidecars": ("global", "nativeSidecars"),
    "privileged": ("global", "proxy", "privileged"),
    "rewrite_probes": ("sidecarInjectorWebhook", "rewriteAppHTTPProbe"),
}


def apply(config: InjectorConfig, values: Object) -> InjectorConfig:
    """The configuration with what the values set. Raises ValueError with the path of a value of a wrong type."""
    changes: dict[str, Any] = {}
    for name, path in _TEXTS.items():
        value = _at(values, *path)
        if value not in (None, ""):
            changes[name] = _scalar(value, path)
    for name, path in _FLAGS.items():
        if (value := _at(values, *path)) is not None:
            changes[name] = _flag(value, path)
    if (port := _at(values, "global", "proxy", "statusPort")) is not None:
        if not isinstance(port, int):
            raise ValueError(f"global.proxy.statusPort: {port!r} is no port")
        changes["status_port"] = port
    if (resources := _at(values, "global", "proxy", "resources")) is not None:
        changes["resources"] = _resources(resources)
    if (lifecycle := _at(values, "global", "proxy", "lifecycle")) is not None:
        changes["lifecycle"] = _mapping(lifecycle, "global.proxy.lifecycle")
    secrets = _at(values, "global", "imagePullSecrets") or []
    if not isinstance(secrets, list) or not all(isinstance(s, str) for s in secrets):
        raise ValueError("global.imagePullSecrets: must be a list of names")
    cni = [_at(values, part, "cni") or {} for part in ("pilot",)] + [_at(values, "istio_cni") or {}]
    if any(_mapping(c, "cni").get("enabled") is True for c in cni):
        changes["cni"] = True
        changes["cni_network"] = any(c.get("provider") == "multus" or c.get("chained") is False for c in cni)
    changes |= _images(config, values)
    webhook = _mapping(_at(values, "sidecarInjectorWebhook") or {}, "sidecarInjectorWebhook")
    return policy(replace(config, values=values, image_pull_secrets=tuple(secrets), **changes), webhook)


def of_config_map(data: Mapping[str, str]) -> InjectorConfig:
    """The configuration in the ConfigMap `istio-sidecar-injector`. Raises ValueError."""
    try:
        settings, values = (bounded_yaml.load(data.get(key) or "{}") for key in ("config", "values"))
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    return policy(apply(InjectorConfig(), _mapping(values, "values")), _mapping(settings, "config"))


def policy(config: InjectorConfig, settings: Object) -> InjectorConfig:
    """The configuration with what the injector's own settings say: the key `config` of its ConfigMap, or `sidecarInjectorWebhook` of the
    values. Raises ValueError."""
    changes: dict[str, Any] = {}
    for name, key in (("never_inject", "neverInjectSelector"), ("always_inject", "alwaysInjectSelector")):
        if settings.get(key):
            changes[name] = _selectors(settings[key], key)
    if settings.get("injectedAnnotations"):
        annotations = _mapping(settings["injectedAnnotations"], "injectedAnnotations")
        changes["annotations"] = {str(k): str(v) for k, v in annotations.items()}
    templates = _mapping(settings.get("templates") or {}, "templates")
    own = {str(k): str(v) for k, v in templates.items() if k not in BUILT_IN}
    default = settings.get("defaultTemplates") or ()
    if not isinstance(default, (list, tuple)) or not all(isinstance(n, str) for n in default):
        raise ValueError("defaultTemplates: must be a list of names")
    return replace(
        config,
        templates={**config.templates, **own},
        default_templates=tuple(default) or config.default_templates,
        **changes,
    )


def _selectors(value: Any, path: str) -> tuple[Object, ...]:
    """Label selectors. Raises ValueError."""
    if not isinstance(value, list):
        raise ValueError(f"{path}: must be a list of label selectors")
    for selector in value:
        labels = _mapping(_mapping(selector, path).get("matchLabels") or {}, f"{path}.matchLabels")
        expressions = selector.get("matchExpressions") or []
        if not isinstance(expressions, list) or any(
            not isinstance(e, Mapping) or not isinstance(e.get("values") or [], list) for e in expressions
        ):
            raise ValueError(f"{path}.matchExpressions: must be a list of objects with key, operator and values")
        if not all(isinstance(v, str) for v in labels.values()):
            raise ValueError(f"{path}.matchLabels: must be texts")
    return tuple(value)


BUILT_IN = frozenset(("sidecar", "gateway", "kube-gateway", "waypoint", "agentgateway", "grpc-simple", "grpc-agent"))
"""Templates of Istio's own, whose text an installation contains. Ours are code."""


def _images(config: InjectorConfig, values: Object) -> dict[str, str]:
    hub, tag = _at(values, "global", "hub"), _at(values, "global", "tag")
    own = {
        name: _at(values, "global", part, "image") for name, part in (("image", "proxy"), ("init_image", "proxy_init"))
    }
    if not (hub or tag or any(own.values())):
        return {}
    base, _, known = config.image.rpartition(":")
    directory = hub or base.rpartition("/")[0]
    return {
        name: str(image) if "/" in str(image) else f"{directory}/{image or 'proxyv2'}:{tag or known}"
        for name, image in own.items()
    }


def _resources(value: Any) -> dict[str, dict[str, str]]:
    """Requests and limits, without those that are null."""
    out: dict[str, dict[str, str]] = {}
    for kind, units in _mapping(value, "global.proxy.resources").items():
        kept = {
            str(u): str(v) for u, v in _mapping(units or {}, f"global.proxy.resources.{kind}").items() if v is not None
        }
        if kept:
            out[str(kind)] = kept
    return out


def _at(values: Any, *path: str) -> Any:
    for name in path:
        values = values.get(name) if isinstance(values, Mapping) else None
    return values


def _mapping(value: Any, path: str) -> Object:
    if not isinstance(value, Mapping):
        raise ValueError(f"{path}: must be an object")
    return value


def _scalar(value: Any, path: tuple[str, ...]) -> str:
    if isinstance(value, (Mapping, list)):
        raise ValueError(f"{'.'.join(path)}: must be a text")
    return str(value)


def _flag(value: Any, path: tuple[str, ...]) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("true", "false"):
        return str(value).lower() == "true"
    raise ValueError(f"{'.'.join(path)}: {value!r} is neither true nor false")
