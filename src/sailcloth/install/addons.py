"""The charts `telemetry` and `console`: what the local cluster has beside its control plane, as Deployments of one image.

One image, because both processes are the same packages and differ by 30 MB of the telemetry's; the console is another command. Each has an
account of its own, with no right that it does not use: neither can act as anybody else, and the console writes with its users' tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sailcloth import __version__
from sailcloth.api import addons

from .chart import Chart
from .definitions import NAMESPACE
from .template import (
    Check,
    Contains,
    Each,
    Equal,
    First,
    Format,
    IfElse,
    JsonText,
    Merge,
    Node,
    Not,
    ReleaseNamespace,
    Value,
    When,
)

_RBAC = "rbac.authorization.k8s.io"
_CONFIG, _DATA = "/etc/sailcloth", "/var/lib/sailcloth"
_GROUP = 1337  # of the images' user; a volume has to belong to it
_IMAGE_TAG = First((Value("global.tag"), __version__))
_ONLY_NAMESPACE = Check(
    Not(Equal(ReleaseNamespace(), NAMESPACE)),
    f"the namespace must be {NAMESPACE}: the mesh's options and commands look for the Services there",
)
_LIMITS = {"global.imagePullPolicy": {"enum": ["", "Always", "IfNotPresent", "Never"]}}


def _given(path: str) -> When:
    return When(Value(path), Value(path))


class _Addon:
    """The objects of one of the two. key: of its values."""

    def __init__(self, key: str, app: str, account: str, ports: Mapping[str, int], ready: tuple[int, str]) -> None:
        self.key, self.app, self.account, self.ports, self.ready = key, app, account, ports, ready
        self.selector = {"app": app}
        self.labels = {
            **self.selector,
            "app.kubernetes.io/name": key,
            "app.kubernetes.io/part-of": "istio",
            "app.kubernetes.io/version": __version__,
        }
        self.settings = JsonText(Merge({"address": "0.0.0.0"}, (f"{key}.settings",)))  # noqa: S104  of the pod

    def meta(self, name: str, **more: Node) -> Node:
        return {"name": name, "namespace": ReleaseNamespace(), "labels": self.labels, **more}

    def service_account(self, name: str) -> Node:
        return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": self.meta(name)}

    def granted(self, name: str, rules: list[addons.Rule], account: str) -> tuple[Node, ...]:
        """A ClusterRole, and its binding to an account."""
        head = {"apiVersion": f"{_RBAC}/v1", "metadata": {"name": name, "labels": self.labels}}
        subject = {"kind": "ServiceAccount", "name": account, "namespace": ReleaseNamespace()}
        role = {"apiGroup": _RBAC, "kind": "ClusterRole", "name": name}
        return (
            {**head, "kind": "ClusterRole", "rules": rules},
            {**head, "kind": "ClusterRoleBinding", "roleRef": role, "subjects": [subject]},
        )

    def service(self, name: str, ports: tuple[addons.Port, ...], **more: Node) -> Node:
        made = [{"name": n, "port": p, "targetPort": t, "protocol": "TCP"} for n, p, t in ports]
        spec = {"selector": self.selector, "ports": made, **more}
        return {"apiVersion": "v1", "kind": "Service", "metadata": self.meta(name), "spec": spec}

    def files(self, access: tuple[Node, ...], services: tuple[Node, ...]) -> dict[str, tuple[Node, ...]]:
        """What both have, beside their rights and Services."""
        config = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": self.meta(f"{self.key}-settings"),
            "data": {"config.json": self.settings},
        }
        policy = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": self.meta(self.app),
            "spec": {
                "podSelector": {"matchLabels": self.selector},
                "policyTypes": ["Ingress"],
                "ingress": [{"ports": [{"port": p, "protocol": "TCP"} for p in self.ports.values()]}],
            },
        }
        return {
            "access.yaml": access,
            "configmap.yaml": (config,),
            "service.yaml": services,
            "networkpolicy.yaml": (When(Value("global.networkPolicy.enabled"), policy),),
        }

    def deployment(
        self, module: str, volumes: tuple[Node, ...] = (), mounts: tuple[Node, ...] = (), annotations: Any = None
    ) -> Node:
        key, image = self.key, Value(f"{self.key}.image")
        whole = Format("{}/{}:{}", (Value("global.hub"), image, _IMAGE_TAG))
        port, path = self.ready
        probe = {"httpGet": {"path": path, "port": port}}
        container = {
            "name": self.app,
            "image": IfElse(Contains(image, "/"), image, whole),
            "imagePullPolicy": _given("global.imagePullPolicy"),
            "command": ["python3", "-m", module],
            "args": ["--config", f"{_CONFIG}/config.json"],
            "ports": [{"name": n, "containerPort": p, "protocol": "TCP"} for n, p in self.ports.items()],
            "startupProbe": {**probe, "periodSeconds": 1, "failureThreshold": 120},
            "readinessProbe": {**probe, "periodSeconds": 3},
            "livenessProbe": {**probe, "periodSeconds": 10, "failureThreshold": 6},
            "resources": _given(f"{key}.resources"),
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "runAsNonRoot": True,
                "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": [
                {"name": "settings", "mountPath": _CONFIG, "readOnly": True},
                {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  of the container
                *mounts,
                Each(f"{key}.volumeMounts"),
            ],
        }
        pod = {
            "serviceAccountName": self.account,
            "imagePullSecrets": _given(f"{key}.imagePullSecrets"),
            "securityContext": {
                "runAsNonRoot": True,
                "fsGroup": _GROUP,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            **{name: _given(f"{key}.{name}") for name in ("nodeSelector", "affinity", "tolerations")},
            "volumes": [
                {"name": "settings", "configMap": {"name": f"{key}-settings"}},
                {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
                *volumes,
                Each(f"{key}.volumes"),
            ],
        }
        own = {"sailcloth.io/settings": self.settings, **(annotations or {})}  # read once: others need another process
        labels = Merge({**self.labels, "sidecar.istio.io/inject": "false"}, (f"{key}.podLabels",))
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": self.meta(self.app),
            "spec": {
                "replicas": Value(f"{key}.replicaCount"),
                "strategy": {"type": "Recreate"},  # the volume has one writer; sessions are in one process
                "selector": {"matchLabels": self.selector},
                "template": {
                    "metadata": {"labels": labels, "annotations": Merge(own, (f"{key}.podAnnotations",))},
                    "spec": pod,
                },
            },
        }


def _telemetry() -> Chart:
    ports = {
        "prometheus": addons.PROMETHEUS,
        "zipkin": addons.ZIPKIN,
        "otlp-grpc": addons.OTLP_GRPC,
        "otlp-http": addons.OTLP_HTTP,
        "jaeger": addons.JAEGER,
        "tempo": addons.TEMPO,
    }
    part = _Addon("telemetry", "telemetry", "sailcloth-telemetry", ports, (addons.PROMETHEUS, "/-/ready"))
    part.settings = JsonText(Merge({"address": "0.0.0.0", "folder": _DATA}, ("telemetry.settings",)))  # noqa: S104
    wanted, size = Value("telemetry.persistence.enabled"), Value("telemetry.persistence.size")
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": part.meta("telemetry"),
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": _given("telemetry.persistence.storageClassName"),
            "resources": {"requests": {"storage": size}},
        },
    }
    kept = {"name": "data", "persistentVolumeClaim": {"claimName": "telemetry"}}
    passing = {"name": "data", "emptyDir": {"sizeLimit": size}}
    deployment = part.deployment(
        "sailcloth.telemetry",
        (When(wanted, kept), When(Not(wanted), passing)),
        ({"name": "data", "mountPath": _DATA},),
        {"prometheus.io/scrape": "true", "prometheus.io/port": str(addons.PROMETHEUS)},
    )
    access = (part.service_account(part.account), *part.granted(part.account, addons.telemetry_rules(), part.account))
    services = tuple(part.service(name, of) for name, of in addons.TELEMETRY_SERVICES.items())
    return Chart(
        "telemetry",
        "The metrics and traces of a Sailcloth mesh",
        {
            **part.files(access, services),
            "persistentvolumeclaim.yaml": (When(wanted, claim),),
            "deployment.yaml": (deployment,),
        },
        _TELEMETRY_NOTES,
        (_ONLY_NAMESPACE,),
        open_values=frozenset(("telemetry.resources", "telemetry.settings")),
        limits={**_LIMITS, "telemetry.replicaCount": {"enum": [0, 1]}},
    )


def _console() -> Chart:
    part = _Addon(
        "console", addons.CONSOLE_SERVICE, "sailcloth-console", {"http": addons.CONSOLE}, (addons.CONSOLE, "/healthz")
    )
    access = (
        part.service_account(part.account),
        *part.granted("sailcloth-console", addons.console_rules(), part.account),
        part.service_account(addons.ACCOUNT),  # of no process: its tokens log in
        *part.granted("kiali-viewer", addons.viewer_rules(), addons.ACCOUNT),
        *part.granted("kiali", addons.editor_rules(), addons.ACCOUNT),
    )
    service = part.service(
        addons.CONSOLE_SERVICE, (("http", 20001, addons.CONSOLE),), type=Value("console.serviceType")
    )
    return Chart(
        "console",
        "The console of a Sailcloth mesh",
        {**part.files(access, (service,)), "deployment.yaml": (part.deployment("sailcloth.console"),)},
        _CONSOLE_NOTES,
        (_ONLY_NAMESPACE,),
        open_values=frozenset(("console.resources", "console.settings")),
        limits={
            **_LIMITS,
            "console.replicaCount": {"enum": [0, 1]},
            "console.serviceType": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
        },
    )


_TELEMETRY_NOTES = """\
Metrics are at the Service prometheus, port 9090; spans are taken by zipkin (9411) and jaeger-collector (4317, 4318).

The mesh's proxies send spans when its options say so, as those of `sailctl install` with this component do:

  helm upgrade istiod charts/istiod -n {{ .Release.Namespace }} --reuse-values \\
    --set 'meshConfig.defaultProviders.tracing={zipkin}' \\
    --set 'meshConfig.extensionProviders[0].name=zipkin' \\
    --set 'meshConfig.extensionProviders[0].zipkin.service=zipkin.{{ .Release.Namespace }}.svc.cluster.local' \\
    --set 'meshConfig.extensionProviders[0].zipkin.port=9411'
"""
_CONSOLE_NOTES = """\
Open the console, logged in:

  sailctl dashboard kiali

Or forward the port 20001 of the Service kiali, and log in with a token:

  kubectl -n {{ .Release.Namespace }} create token kiali
"""
TELEMETRY, CONSOLE = _telemetry(), _console()
