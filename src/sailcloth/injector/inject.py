"""Decides whether a pod gets a sidecar, and adds it. Pure; the webhook and `kube-inject` share it."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from sailcloth.api.validation import pod_annotations
from sailcloth.lib import label_selector, strategic_merge
from sailcloth.mesh import injection

from . import annotations as notes
from . import custom_templates, template
from .config import InjectorConfig
from .template import PROXY

STATUS = "sidecar.istio.io/status"
_YES, _NO = ("true", "yes", "y", "on", "1"), ("false", "no", "n", "off", "0")


class InjectionError(ValueError):
    """The pod cannot be injected as it stands; the text names the annotation and the fix."""


def is_injected(pod: dict[str, Any], namespace: str, config: InjectorConfig, default: bool = True) -> bool:
    """Whether to inject a pod. The label has precedence over the annotation, then selectors, then the namespace's default."""
    spec, metadata = pod.get("spec", {}), pod.get("metadata", {})
    if spec.get("hostNetwork") or namespace in injection.IGNORED_NAMESPACES:
        return False
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    if STATUS in annotations:
        return False
    given = injection.of_pod(labels, annotations)
    if given is not None:
        return given
    if any(_selected(s, labels) for s in config.never_inject):
        return False
    return default or any(_selected(s, labels) for s in config.always_inject)


def _selected(selector: Mapping[str, Any], labels: dict[str, str]) -> bool:
    """Whether a label selector, or a plain map of labels, selects a pod. An empty one selects none."""
    known = {"matchLabels", "matchExpressions"}
    whole = selector if known & selector.keys() else {"matchLabels": selector}
    return any(whole.values()) and label_selector.matches(whole, labels)


def inject(
    pod: dict[str, Any],
    config: InjectorConfig,
    *,
    namespace: str = "default",
    owner: tuple[str, str, str] | None = None,
) -> dict[str, Any]:
    """A copy of the pod (or pod template) with the proxy. `owner` is (apiVersion, kind, name) of the workload.

    Raises InjectionError for annotations with bad values.
    """
    given = {k: str(v) for k, v in ((pod.get("metadata") or {}).get("annotations") or {}).items()}
    chosen = _templates(given, config)
    out = copy.deepcopy(pod)
    if _PROXIES & set(chosen):
        out = _with_proxy(out, config, "gateway" in chosen, namespace, owner)
    metadata = out.setdefault("metadata", {})
    known = {
        "Values": config.values,
        "ObjectMeta": {
            "Name": metadata.get("name"),
            "Namespace": namespace,
            "Labels": metadata.get("labels"),
            "Annotations": given,
        },
        "DeploymentMeta": {"Name": owner[2] if owner else metadata.get("name"), "Namespace": namespace},
        "Revision": config.revision,
        "ProxyImage": config.image,
    }
    for name in chosen:
        if name not in _PROXIES:
            try:
                out = custom_templates.merged(out, name, config.templates[name], known)
            except ValueError as error:
                raise InjectionError(str(error)) from None
    return out


_PROXIES = {"sidecar", "gateway"}
_WITHOUT_PROXY = {
    "grpc-agent",
    "grpc-simple",
}  # for gRPC that reads xDS itself; such a pod gets a sidecar here, which serves it as well


def _templates(given: dict[str, str], config: InjectorConfig) -> list[str]:
    """The templates of a pod, in order. Raises InjectionError for an unknown one."""
    named = [n.strip() for n in given.get("inject.istio.io/templates", "").split(",") if n.strip()]
    meant = ("sidecar" if n in _WITHOUT_PROXY else n for n in named or config.default_templates)
    chosen = list(dict.fromkeys(meant))
    for name in chosen:
        if name not in _PROXIES and name not in config.templates:
            there = ", ".join(sorted((*_PROXIES, *config.templates)))
            raise InjectionError(
                f"annotation inject.istio.io/templates: there is no template {name!r}; there are {there}"
            )
    return chosen


def _with_proxy(
    out: dict[str, Any], config: InjectorConfig, gateway: bool, namespace: str, owner: tuple[str, str, str] | None
) -> dict[str, Any]:
    """The pod, changed in place, with the proxy of a workload or of a gateway."""
    metadata = out.setdefault("metadata", {})
    spec = out.setdefault("spec", {})
    given = {k: str(v) for k, v in (metadata.get("annotations") or {}).items()}
    problems = notes.validate(given)
    if problems:
        raise InjectionError("; ".join(problems))
    try:
        options = _options(config.proxy_config, notes.proxy_config(given))
        volumes, mounts = (notes.user_entries(given, name) for name in ("userVolume", "userVolumeMount"))
    except ValueError as error:
        raise InjectionError(str(error)) from None
    native = config.native_sidecars and not gateway
    if "sidecar.istio.io/nativeSidecar" in given and not gateway:
        native = given["sidecar.istio.io/nativeSidecar"].lower() in _YES
    image = given.get("sidecar.istio.io/proxyImage") or _image(config.image, options, given)
    init_image = config.init_image if config.init_image and "sidecar.istio.io/proxyImage" not in given else image
    labels = metadata.setdefault("labels", {}) or {}
    metadata["labels"] = labels
    workload, owner_url = _workload(metadata, namespace, owner)
    limits = {} if gateway else template.resources(config, given)
    own_limits = copy.deepcopy(limits)  # two objects, so that YAML shows no alias
    containers = spec.setdefault("containers", [])
    init = spec.setdefault("initContainers", [])
    companions = [c for c in init if c.get("restartPolicy") == "Always"]
    probers = {} if gateway else _rewrite_probes([*containers, *companions], given, config)
    created = template.proxy(
        config,
        role="router" if gateway else "sidecar",
        pod=out,
        annotations=given,
        image=image,
        limits=own_limits,
        workload=workload,
        owner=owner_url,
        mesh_options=options,
        probers=probers,
        native=native,
    )
    created["volumeMounts"] += mounts
    own: dict[str, list[dict[str, Any]]] = {}
    for group in (containers, init):
        created = _refined(created, group, own.setdefault("initContainers" if native else "containers", []))
    names = {"initContainers": [], "containers": []}  # type: dict[str, list[str]]
    if not gateway and given.get("sidecar.istio.io/interceptionMode") != "NONE":
        first = template.capture(config, given, init_image, limits, options, list(_secure_ports(created).values()))
        first = _refined(first, init, own.setdefault("initContainers", []))
        init.insert(0, first)
        names["initContainers"].append(first["name"])
    if native:
        init.insert(len(names["initContainers"]), created)
        names["initContainers"].append(PROXY)
    else:
        hold = bool(options.get("holdApplicationUntilProxyStarts")) or config.hold_application
        containers.insert(0 if hold else len(containers), created)
        names["containers"].append(PROXY)
    if not init:
        del spec["initContainers"]
    if config.image_pull_secrets:
        own_secrets = [s for s in spec.get("imagePullSecrets") or () if s.get("name") not in config.image_pull_secrets]
        spec["imagePullSecrets"] = [*({"name": name} for name in config.image_pull_secrets), *own_secrets]
    have = {v["name"] for v in spec.get("volumes", ())}
    added = [v for v in (*template.volumes(config.crl and not gateway), *volumes) if v["name"] not in have]
    spec["volumes"] = [*added, *spec.get("volumes", [])]
    _label(labels, workload, config, gateway)
    _merge_metrics(created, given, config)
    _annotate(metadata, given, config, containers, names, added, gateway)
    if port := _secure_ports(created).get("ENVOY_SECURE_MERGED_METRICS_PORT"):
        metadata["annotations"].setdefault("prometheus.istio.io/secure-port", port)
    if own := {group: result for group, result in own.items() if result}:
        metadata["annotations"]["proxy.istio.io/overrides"] = json.dumps(own, separators=(",", ":"))
    if gateway:
        spec.setdefault("securityContext", {}).setdefault(
            "sysctls", [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]
        )
    return out


def _options(shared: dict[str, object], own: dict[str, object]) -> dict[str, object]:
    """The mesh's ProxyConfig merged with the pod's; `proxyMetadata` is merged by name."""
    joined: dict[str, object] = {}
    for part in (shared, own):
        value = part.get("proxyMetadata")
        if value is not None and not isinstance(value, dict):
            raise ValueError("annotation proxy.istio.io/config: proxyMetadata must be an object")
        joined |= value or {}
    return {**shared, **own, **({"proxyMetadata": joined} if joined else {})}


def _image(image: str, options: dict[str, Any], given: dict[str, str]) -> str:
    """The proxy's image of the wanted type, which its tag ends with."""
    kind = given.get("sidecar.istio.io/proxyImageType") or (options.get("image") or {}).get("imageType")
    return image if kind in (None, "", "default") else f"{image}-{kind}"


def _workload(metadata: dict[str, Any], namespace: str, owner: tuple[str, str, str] | None) -> tuple[str, str]:
    if owner is None:
        name = str(metadata.get("name") or metadata.get("generateName") or "").rstrip("-")
        return name, (f"kubernetes://apis/v1/namespaces/{namespace}/pods/{name}" if name else "")
    version, kind, name = owner
    return name, f"kubernetes://apis/{version}/namespaces/{namespace}/{kind.lower()}s/{name}"


def _label(labels: dict[str, str], workload: str, config: InjectorConfig, gateway: bool) -> None:
    if not gateway:  # a gateway's listeners are what users write: nothing says that they take mutual TLS
        labels.setdefault("security.istio.io/tlsMode", "istio")
    name = labels.get("app.kubernetes.io/name") or labels.get("app") or workload
    revision = labels.get("app.kubernetes.io/version") or labels.get("version") or "latest"
    if name:
        labels.setdefault("service.istio.io/canonical-name", name[:63].rstrip("-_."))
    labels.setdefault("service.istio.io/canonical-revision", revision)
    if config.network:
        labels.setdefault("topology.istio.io/network", config.network)


def _secure_ports(proxy: dict[str, Any]) -> dict[str, str]:
    """The ports of metrics with mutual TLS, by their variables."""
    names = ("ENVOY_SECURE_METRICS_PORT", "ENVOY_SECURE_MERGED_METRICS_PORT")
    given = {str(v.get("name")): str(v.get("value") or "0") for v in proxy.get("env") or ()}
    return {name: given[name] for name in names if given.get(name, "0").strip("0").isdecimal()}


def _merges_metrics(given: dict[str, str], config: InjectorConfig) -> bool:
    """Whether the agent serves the application's metrics with Envoy's."""
    scraped = "false" not in (given.get("prometheus.io/scrape"), given.get("prometheus.io.scrape"))
    return config.prometheus_merge and scraped and given.get("prometheus.istio.io/merge-metrics", "true") != "false"


def _merge_metrics(proxy: dict[str, Any], given: dict[str, str], config: InjectorConfig) -> None:
    """Tell the agent where the application's metrics are, since the annotations that said so now name the agent."""
    several = given.get("prometheus.istio.io/scrape-targets", "")
    scraped = "true" in (given.get("prometheus.io/scrape"), given.get("prometheus.io.scrape")) or bool(several)
    port = given.get("prometheus.io/port") or given.get("prometheus.io.port") or ""
    if not scraped or not _merges_metrics(given, config) or port == str(config.status_port):
        return
    path = given.get("prometheus.io/path") or given.get("prometheus.io.path") or ""
    told = {"scrape": "true", "path": path, "port": port, **({"targets": several} if several else {})}
    value = json.dumps(told, separators=(",", ":"))
    proxy.setdefault("env", []).append({"name": "ISTIO_PROMETHEUS_ANNOTATIONS", "value": value})


def _annotate(
    metadata: dict[str, Any],
    given: dict[str, str],
    config: InjectorConfig,
    containers: list[dict[str, Any]],
    names: dict[str, list[str]],
    added: list[dict[str, Any]],
    gateway: bool,
) -> None:
    out = dict(given)
    out["istio.io/rev"] = config.revision
    application = next((c["name"] for c in containers if c["name"] != PROXY), "")
    if application:
        out.setdefault("kubectl.kubernetes.io/default-container", application)
        out.setdefault("kubectl.kubernetes.io/default-logs-container", application)
    if _merges_metrics(given, config):
        out["prometheus.io/scrape"] = "true"
        out["prometheus.io/port"] = str(config.status_port)
        out["prometheus.io/path"] = "/stats/prometheus"
    for name, value in config.annotations.items():
        out.setdefault(name, value)
    if config.cni_network:
        out[_NETWORKS] = _with_network(given.get(_NETWORKS, ""))
    if config.cni:
        out.setdefault("sidecar.istio.io/interceptionMode", "REDIRECT")
        out.setdefault(pod_annotations.PREFIX + "includeInboundPorts", "*")
        out.setdefault(pod_annotations.PREFIX + "includeOutboundIPRanges", "*")
        out.setdefault(pod_annotations.PREFIX + "excludeInboundPorts", str(config.status_port))
    out[STATUS] = json.dumps(
        {
            "initContainers": names["initContainers"] or None,
            "containers": names["containers"] or None,
            "volumes": [v["name"] for v in added],
            "imagePullSecrets": list(config.image_pull_secrets) or None,
            "revision": config.revision,
        },
        separators=(",", ":"),
    )
    metadata["annotations"] = out


_NETWORKS, _NETWORK = "k8s.v1.cni.cncf.io/networks", "istio-cni"


def _with_network(networks: str) -> str:
    """The networks of a pod with that of the CNI plugin: a list of names, or of objects in JSON."""
    if not networks.strip().startswith("["):
        return f"{networks}, default/{_NETWORK}" if networks else f"default/{_NETWORK}"
    return f"{networks.rstrip().removesuffix(']')}, {json.dumps({'name': _NETWORK, 'namespace': 'default'})}]"


_PROBES = {
    ("livenessProbe",): "app-health/{}/livez",
    ("readinessProbe",): "app-health/{}/readyz",
    ("startupProbe",): "app-health/{}/startupz",
    ("lifecycle", "postStart"): "app-lifecycle/{}/poststartz",
    ("lifecycle", "preStop"): "app-lifecycle/{}/prestopz",
}


def _rewrite_probes(containers: list[dict[str, Any]], given: dict[str, str], config: InjectorConfig) -> dict[str, Any]:
    """Rewrite probes and hooks of the application to the agent, so that they work with strict mutual TLS. Returns the originals."""
    default = "true" if config.rewrite_probes else "false"
    if given.get("sidecar.istio.io/rewriteAppHTTPProbers", default).lower() in _NO:
        return {}
    port = int(given.get("status.sidecar.istio.io/port", config.status_port) or 0)
    if not port:
        return {}
    out: dict[str, Any] = {}
    for container in containers:
        if container.get("name") == PROXY:
            continue
        named = {p.get("name"): p["containerPort"] for p in container.get("ports", ()) if "containerPort" in p}
        for fields, form in _PROBES.items():
            probe = container
            for field in fields:
                probe = probe.get(field) or {}
            path = "/" + form.format(container["name"])
            kept: dict[str, Any] = {"timeoutSeconds": probe["timeoutSeconds"]} if "timeoutSeconds" in probe else {}
            for kind in ("httpGet", "tcpSocket", "grpc"):
                target = probe.get(kind)
                if target is None:
                    continue
                number = target.get("port")
                original = {**target, "port": named.get(number, number)}
                out[path] = {kind: original, **kept}
                del probe[kind]
                probe["httpGet"] = {"path": path, "port": port, **({"scheme": "HTTP"} if "scheme" in target else {})}
    return out


def _refined(created: dict[str, Any], group: list[dict[str, Any]], noted: list[dict[str, Any]]) -> dict[str, Any]:
    """Merge the user's container of the same name into an injected one, remove it from its list, and record it in `noted`."""
    own = next((c for c in group if c.get("name") == created["name"]), None)
    if own is None:
        return created
    group.remove(own)
    if own.get("image") == "auto":  # without a tag: the API server has taken that for the newest, and pulls always
        own = {k: v for k, v in own.items() if (k, v) not in (("image", "auto"), ("imagePullPolicy", "Always"))}
    noted.insert(0, {"resources": {}, **own})
    try:
        return strategic_merge.merge(created, own)
    except ValueError as error:
        raise InjectionError(f"container {created['name']}: {error}") from None


# -- whole manifests ----------------------------------------------------------------------------

_TEMPLATES = {
    "Deployment": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "ReplicationController": ("spec", "template"),
    "DeploymentConfig": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}


def inject_object(obj: dict[str, Any], config: InjectorConfig) -> dict[str, Any]:
    """A manifest with its pod template injected; kinds without pods, and pods that opt out, come back unchanged."""
    kind = str(obj.get("kind", ""))
    if kind == "List":
        return {**obj, "items": [inject_object(i, config) for i in obj.get("items", ())]}
    metadata = obj.get("metadata") or {}
    namespace = str(metadata.get("namespace") or "default")
    if kind == "Pod":
        return inject(obj, config, namespace=namespace) if is_injected(obj, namespace, config) else obj
    path = _TEMPLATES.get(kind)
    if path is None:
        return obj
    pod: Any = obj
    for step in path:
        pod = pod.get(step) if isinstance(pod, dict) else None
    if not isinstance(pod, dict) or not is_injected(pod, namespace, config):
        return obj
    owner = (str(obj.get("apiVersion", "apps/v1")), kind, str(metadata.get("name", "")))
    out = copy.deepcopy(obj)
    target = out
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = inject(pod, config, namespace=namespace, owner=owner)
    return out
