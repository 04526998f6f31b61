"""Injection: namespaces that do not decide, pods that should have a proxy and have none, proxies of another version."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import yaml

from sailcloth.api.meta import Finding
from sailcloth.lib import bounded_yaml, label_selector
from sailcloth.mesh import injection, proxy_configs

from . import unstructured
from .catalogue import finding
from .objects import ObjectSet, Workload
from .unstructured import Object

_PROXY_CONFIG, _PROXY_IMAGE = "proxy.istio.io/config", "sidecar.istio.io/proxyImage"
_ENDED = ("Succeeded", "Failed")


def namespaces(objects: ObjectSet) -> Iterator[Finding]:
    """Namespaces with no label of the mesh, or with several."""
    by_default = _by_default(objects)
    for one in objects.of("Namespace"):
        if one.key.name in injection.IGNORED_NAMESPACES or one.key.name == objects.root:
            continue
        given = _ways(one.labels)
        if len(given) > 1:
            yield finding("IST0123", one.key, "metadata.labels", given)
        elif not given and injection.of_namespace(one.labels) is None:
            code = "IST0148" if by_default else "IST0102"
            yield finding(code, one.key, "metadata.labels", *([one.key.name] * 2 if code == "IST0102" else ()))


def _by_default(objects: ObjectSet) -> bool:
    """Whether the installation injects namespaces that do not say."""
    settings = unstructured.mapping(_values(objects, ""), "sidecarInjectorWebhook")
    return settings.get("enableNamespacesByDefault") is True


def _ways(labels: dict[str, str]) -> list[str]:
    """The labels by which a namespace joins the mesh; none if it opts out."""
    if labels.get(injection.NAMESPACE) == "disabled":
        return []
    ways = [name for name in (injection.NAMESPACE, injection.REVISION) if labels.get(name)]
    return ways + ([injection.MODE] if labels.get(injection.MODE) == "ambient" else [])


def is_injected(objects: ObjectSet, pod: Workload) -> bool:
    """Whether a new pod with this template would get a sidecar."""
    if pod.spec.get("hostNetwork") is True or pod.namespace in (*injection.IGNORED_NAMESPACES, objects.root):
        return False
    own = injection.of_pod(pod.labels, pod.annotations)
    of_namespace = injection.of_namespace(objects.namespace_labels(pod.namespace))
    return of_namespace is not False and own if own is not None else bool(of_namespace)


def _is_wanted(objects: ObjectSet, pod: Workload, by_default: bool) -> bool:
    """Whether the namespace of a pod, or else the installation, wants sidecars, and the pod does not refuse one."""
    one = objects.get("Namespace", "", pod.namespace)
    wanted = injection.of_namespace(one.labels) if one is not None else False
    if wanted is None and one is not None and not _ways(one.labels):
        wanted = by_default
    refused = injection.of_pod(pod.labels, pod.annotations) is False or pod.spec.get("hostNetwork") is True
    return bool(wanted) and not refused and pod.namespace not in (*injection.IGNORED_NAMESPACES, objects.root)


def pods(objects: ObjectSet) -> Iterator[Finding]:
    """Running pods without a proxy in namespaces whose pods get one."""
    by_default = _by_default(objects)
    for pod in objects.live:
        one = pod.document
        if (
            _is_wanted(objects, pod, by_default)
            and not pod.has_proxy
            and unstructured.text(one.body, "status", "phase") not in _ENDED
        ):
            yield finding("IST0103", one.key, "spec.containers", one.key.name, fix=f"kubectl delete pod {one.key.name}")


def images(objects: ObjectSet) -> Iterator[Finding]:
    """Namespaces with pods whose proxy has another image than the injector gives now."""
    by_namespace: dict[str, list[Workload]] = {}
    for pod in objects.live:
        by_namespace.setdefault(pod.namespace, []).append(pod)
    for one in objects.of("Namespace"):
        if not injection.of_namespace(one.labels):
            continue
        revision = one.labels.get(injection.REVISION, "") if injection.NAMESPACE not in one.labels else ""
        image = _image(_values(objects, revision))
        stale = [p.document.key.name for p in by_namespace.get(one.key.name, ()) if image and _stale(objects, p, image)]
        if stale:
            yield finding("IST0158", one.key, "metadata.name", stale)


def _values(objects: ObjectSet, revision: str) -> Object:
    """The injector's installation values, from its ConfigMap."""
    name = f"istio-sidecar-injector-{revision}" if revision else "istio-sidecar-injector"
    one = objects.get("ConfigMap", objects.root, name)
    text = unstructured.text(one.body, "data", "values") if one is not None else ""
    try:
        return unstructured.mapping(json.loads(text)) if text else {}
    except (ValueError, RecursionError):
        return {}


def _image(values: Object) -> str:
    """The proxy's image; empty if the values have none."""
    shared = unstructured.mapping(values, "global")
    image, hub, tag = (unstructured.text(shared, *names) for names in (("proxy", "image"), ("hub",), ("tag",)))
    return image if "/" in image or not (hub and tag and image) else f"{hub}/{image}:{tag}"


def _stale(objects: ObjectSet, pod: Workload, image: str) -> bool:
    """Whether a pod's proxy has another image; not if the pod chooses its own."""
    proxy = next((c for c in pod.containers if c.get("name") == "istio-proxy"), None)
    if proxy is None or _PROXY_IMAGE in pod.annotations or unstructured.text(proxy, "image") == image:
        return False
    options = proxy_configs.options(objects.graph, pod.namespace, pod.labels)
    with contextlib.suppress(yaml.YAMLError):
        options |= unstructured.mapping(bounded_yaml.load(pod.annotations.get(_PROXY_CONFIG, "{}")))
    kind = unstructured.text(options, "image", "imageType")
    wanted = {image, f"{image}-{kind}"} if kind not in ("", "default") else {image}
    return unstructured.text(proxy, "image") not in wanted


def waiting(objects: ObjectSet) -> Iterator[Finding]:
    """Pods and Deployments with `image: auto` that no injector's webhook selects. Says nothing without webhooks."""
    hooks = [
        hook
        for one in objects.of("MutatingWebhookConfiguration")
        for _, hook in unstructured.objects(one.body, "webhooks")
        if "sidecar-injector" in unstructured.text(hook, "name") or "istio" in one.key.name
    ]
    for workload in (
        (*objects.live, *(t for t in objects.templates if t.document.key.kind == "Deployment")) if hooks else ()
    ):
        auto = any(c.get("name") == "istio-proxy" and c.get("image") == "auto" for c in workload.containers)
        if auto and not any(_selects(objects, hook, workload) for hook in hooks):
            key = workload.document.key
            code = "IST0147" if key.kind == "Pod" else "IST0146"
            yield finding(code, key, f"{workload.path}.containers", key.kind, key.name)


def _selects(objects: ObjectSet, hook: Object, workload: Workload) -> bool:
    labels = {"kubernetes.io/metadata.name": workload.namespace, **objects.namespace_labels(workload.namespace)}
    return label_selector.matches(unstructured.selector(hook, "namespaceSelector"), labels) and label_selector.matches(
        unstructured.selector(hook, "objectSelector"), workload.labels
    )
