"""The chart `istiod`: the control plane, what it may do, and what it reads.

What is in the webhook configurations is not here: the control plane applies it itself, with its own certificate authority, and again when
that changes (`controlplane.process`). The objects are here without it, so that who removes the chart removes them: a webhook without a
control plane lets no pod of the mesh start. Its Service has no port 15010: discovery without authentication is for tests.
"""

from __future__ import annotations

from sailcloth import __version__

from . import access
from .chart import Chart
from .definitions import NAMESPACE, ONLY_NAMESPACE
from .template import (
    HAS_REVISION,
    Both,
    Check,
    Contains,
    Each,
    EachPair,
    Equal,
    First,
    Format,
    IfElse,
    JsonText,
    Merge,
    Node,
    Not,
    ReleaseNamespace,
    Revisioned,
    Value,
    When,
    YamlText,
)

_RBAC = "rbac.authorization.k8s.io"
_LABELS: dict[str, Node] = {
    "app": "istiod",
    "istio": IfElse(HAS_REVISION, "istiod", "pilot"),
    "istio.io/rev": First((Value("revision"), "default")),
    "app.kubernetes.io/name": "istiod",
    "app.kubernetes.io/part-of": "istio",
    "app.kubernetes.io/version": __version__,
}
_SELECTOR: dict[str, Node] = {
    "app": "istiod",
    "istio": _LABELS["istio"],
    "istio.io/rev": When(HAS_REVISION, Value("revision")),
}
_NAME = Revisioned("istiod")
_PORTS = (
    ("https-dns", 15012, 15012),
    ("https-webhook", 443, 15017),
    ("http-monitoring", 15014, 15014),
)
_HTTP = 8080  # of the probes
_CONFIG = "/etc/sailcloth"
_TAG = First((Value("global.tag"), __version__))
_ADDRESS = Format("{}.{}.svc:15012", (_NAME, ReleaseNamespace()))
_SCALED = Value("pilot.autoscaleEnabled")


def _meta(name: Node, **more: Node) -> Node:
    return {"name": name, "namespace": ReleaseNamespace(), "labels": _LABELS, **more}


def _cluster_meta(name: Node) -> Node:
    return {"name": name, "labels": _LABELS}


def _binding(kind: str, role: Node, metadata: Node) -> Node:
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": f"{kind}Binding",
        "metadata": metadata,
        "roleRef": {"apiGroup": _RBAC, "kind": kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": _NAME, "namespace": ReleaseNamespace()}],
    }


def _access() -> tuple[Node, ...]:
    whole, gateways = (
        Revisioned(name, f"-{NAMESPACE}") for name in ("istiod-clusterrole", "istiod-gateway-controller")
    )
    role = {"apiVersion": f"{_RBAC}/v1", "kind": "ClusterRole"}
    wanted = Value("pilot.gatewayDeployments")
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": _meta(
            _NAME,
            annotations=When(Value("pilot.serviceAccountAnnotations"), Value("pilot.serviceAccountAnnotations")),
        ),
    }
    return (
        account,
        {**role, "metadata": _cluster_meta(whole), "rules": access.cluster_rules()},
        _binding("ClusterRole", whole, _cluster_meta(whole)),
        When(wanted, {**role, "metadata": _cluster_meta(gateways), "rules": access.gateway_rules()}),
        When(wanted, _binding("ClusterRole", gateways, _cluster_meta(gateways))),
        {"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": _meta(_NAME), "rules": access.own_rules()},
        _binding("Role", _NAME, _meta(_NAME)),
    )


# -- what it reads --------------------------------------------------------------------------------

_INJECTION = Merge(
    {
        "global": Merge(
            {
                "hub": Value("global.hub"),
                "tag": _TAG,
                "trustDomain": Value("meshConfig.trustDomain"),
                "caAddress": First((Value("global.caAddress"), _ADDRESS)),
            },
            ("global",),
        ),
        "revision": Value("revision"),
        "pilot": {"cni": Value("pilot.cni")},
        "sidecarInjectorWebhook": {"rewriteAppHTTPProbe": Value("sidecarInjectorWebhook.rewriteAppHTTPProbe")},
    },
    (),
)
_SETTINGS = JsonText(Merge({"lease": Revisioned(access.LEASE), "revision": Value("revision")}, ("pilot.settings",)))
UNNAMED_ADDRESS = f"istiod.{NAMESPACE}.svc:15012"
"""Of the control plane without a name."""
_DISCOVERY = First((Value("meshConfig.defaultConfig.discoveryAddress"), _ADDRESS))
_MESH = Merge(
    {
        "trustDomain": Value("meshConfig.trustDomain"),
        "defaultConfig": Merge({"discoveryAddress": _DISCOVERY}, ("meshConfig.defaultConfig",)),
    },
    ("meshConfig",),
)
_CONFIG_MAPS = (
    {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _meta(Revisioned("istio")),
        "data": {"mesh": YamlText(_MESH)},
    },
    {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _meta(Revisioned("istio-sidecar-injector")),
        "data": {
            "config": YamlText(Merge({"policy": "enabled"}, ("sidecarInjectorWebhook",))),
            "values": YamlText(_INJECTION),
        },
    },
    {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _meta(Revisioned("istiod-settings")),
        "data": {"config.json": _SETTINGS},
    },
)

# -- what runs ------------------------------------------------------------------------------------

_SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": _meta(_NAME, annotations=When(Value("pilot.serviceAnnotations"), Value("pilot.serviceAnnotations"))),
    "spec": {
        "selector": _SELECTOR,
        "ports": [{"name": n, "port": p, "targetPort": t, "protocol": "TCP"} for n, p, t in _PORTS],
        "ipFamilyPolicy": When(Value("pilot.ipFamilyPolicy"), Value("pilot.ipFamilyPolicy")),
        "ipFamilies": When(Value("pilot.ipFamilies"), Value("pilot.ipFamilies")),
    },
}


def _probe(period: int, failures: int) -> Node:
    return {"httpGet": {"path": "/ready", "port": _HTTP}, "periodSeconds": period, "failureThreshold": failures}


def _field(name: str, path: str) -> Node:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


_HUB = First((Value("pilot.hub"), Value("global.hub")))
_IMAGE = Format("{}/{}:{}", (_HUB, Value("pilot.image"), First((Value("pilot.tag"), _TAG))))
_CONTAINER = {
    "name": "discovery",
    "image": IfElse(Contains(Value("pilot.image"), "/"), Value("pilot.image"), _IMAGE),
    "imagePullPolicy": When(Value("global.imagePullPolicy"), Value("global.imagePullPolicy")),
    "args": ["--config", f"{_CONFIG}/config.json"],
    "ports": [
        {"name": name, "containerPort": port, "protocol": "TCP"}
        for name, port in (("http-debug", _HTTP), *((n, t) for n, _, t in _PORTS))
    ],
    # It serves when it has read the cluster, which takes 11 s for 2000 services.
    "startupProbe": _probe(1, 300),
    "readinessProbe": _probe(3, 3),
    "livenessProbe": _probe(10, 6),
    "env": [
        _field("POD_NAME", "metadata.name"),
        _field("POD_NAMESPACE", "metadata.namespace"),
        _field("POD_IP", "status.podIP"),
        EachPair("pilot.env"),
    ],
    "resources": When(Value("pilot.resources"), Value("pilot.resources")),
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
    },
    "volumeMounts": [
        {"name": "settings", "mountPath": _CONFIG, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  of the container, where a certificate passes through a file
        {"name": "istio-token", "mountPath": "/var/run/secrets/tokens", "readOnly": True},
        Each("pilot.volumeMounts"),
    ],
}
# By which replicas know each other (`controlplane.replicas`).
_TOKEN = {"audience": "istio-ca", "expirationSeconds": 43_200, "path": "istio-token"}
_OPTIONAL = ("nodeSelector", "affinity", "tolerations", "topologySpreadConstraints")
_POD = {
    "metadata": {
        "labels": Merge({**_LABELS, "sidecar.istio.io/inject": "false"}, ("pilot.podLabels",)),
        "annotations": Merge(
            {
                "prometheus.io/port": "15014",
                "prometheus.io/scrape": "true",
                "sailcloth.io/settings": _SETTINGS,  # read once: others need another process
            },
            ("pilot.podAnnotations",),
        ),
    },
    "spec": {
        "serviceAccountName": _NAME,
        "priorityClassName": When(Value("global.priorityClassName"), Value("global.priorityClassName")),
        "imagePullSecrets": When(Value("global.imagePullSecrets"), Value("global.imagePullSecrets")),
        "securityContext": {
            "runAsNonRoot": True,
            "seccompProfile": When(Value("pilot.seccompProfile"), Value("pilot.seccompProfile")),
        },
        "containers": [_CONTAINER],
        **{name: When(Value(f"pilot.{name}"), Value(f"pilot.{name}")) for name in _OPTIONAL},
        "volumes": [
            {"name": "settings", "configMap": {"name": Revisioned("istiod-settings")}},
            {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
            {"name": "istio-token", "projected": {"sources": [{"serviceAccountToken": _TOKEN}]}},
            Each("pilot.volumes"),
        ],
    },
}
_DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {
        "name": _NAME,
        "namespace": ReleaseNamespace(),
        "labels": Merge(_LABELS, ("pilot.deploymentLabels",)),
        "annotations": When(Value("pilot.deploymentAnnotations"), Value("pilot.deploymentAnnotations")),
    },
    "spec": {
        "replicas": When(Not(_SCALED), Value("pilot.replicaCount")),
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {
                "maxSurge": Value("pilot.rollingMaxSurge"),
                "maxUnavailable": Value("pilot.rollingMaxUnavailable"),
            },
        },
        "selector": {"matchLabels": _SELECTOR},
        "template": _POD,
    },
}
# Without labels and webhooks: those are the control plane's.
_WEBHOOKS = tuple(
    {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}}
    for kind, name in (
        ("MutatingWebhookConfiguration", access.MUTATING),
        ("ValidatingWebhookConfiguration", access.VALIDATING),
    )
)
_BUDGET = {
    "apiVersion": "policy/v1",
    "kind": "PodDisruptionBudget",
    "metadata": _meta(_NAME),
    "spec": {"maxUnavailable": 1, "selector": {"matchLabels": _SELECTOR}},
}


def target(name: str, value: str) -> Node:
    """A metric of a HorizontalPodAutoscaler: utilization in percent."""
    utilization = {"type": "Utilization", "averageUtilization": Value(value)}
    return {"type": "Resource", "resource": {"name": name, "target": utilization}}


_AUTOSCALER = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": _meta(_NAME),
    "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": _NAME},
        "minReplicas": Value("pilot.autoscaleMin"),
        "maxReplicas": Value("pilot.autoscaleMax"),
        "metrics": [
            target("cpu", "pilot.cpu.targetAverageUtilization"),
            When(
                Value("pilot.memory.targetAverageUtilization"),
                target("memory", "pilot.memory.targetAverageUtilization"),
            ),
        ],
        "behavior": When(Value("pilot.autoscaleBehavior"), Value("pilot.autoscaleBehavior")),
    },
}
_NETWORK_POLICY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": _meta(_NAME),
    "spec": {
        "podSelector": {"matchLabels": _SELECTOR},
        "policyTypes": ["Ingress"],
        "ingress": [{"ports": [{"port": port, "protocol": "TCP"} for port in (_HTTP, *(t for _, _, t in _PORTS))]}],
    },
}
_NOTES = """\
The control plane starts in {{ .Release.Namespace }}. See that it is ready:

  kubectl -n {{ .Release.Namespace }} rollout status deployment -l app=istiod

Then gateways, which the control plane injects:

  helm install istio-ingressgateway charts/gateway -n {{ .Release.Namespace }}

And sidecars for the pods of a namespace, from their next start on:

  kubectl label namespace default istio-injection=enabled
"""
CHART = Chart(
    "istiod",
    "The control plane of a Sailcloth mesh",
    {
        "access.yaml": _access(),
        "configmaps.yaml": _CONFIG_MAPS,
        "webhooks.yaml": _WEBHOOKS,
        "service.yaml": (_SERVICE,),
        "deployment.yaml": (_DEPLOYMENT,),
        "poddisruptionbudget.yaml": (When(Value("global.defaultPodDisruptionBudget.enabled"), _BUDGET),),
        "autoscale.yaml": (When(_SCALED, _AUTOSCALER),),
        "networkpolicy.yaml": (When(Value("global.networkPolicy.enabled"), _NETWORK_POLICY),),
    },
    _NOTES,
    (
        ONLY_NAMESPACE,
        Check(
            Not(Equal(ReleaseNamespace(), NAMESPACE)),
            f"the control plane must be in the namespace {NAMESPACE}: it knows no other one yet",
        ),
        Check(
            Both(HAS_REVISION, Equal(Value("meshConfig.defaultConfig.discoveryAddress"), UNNAMED_ADDRESS)),
            "meshConfig.defaultConfig.discoveryAddress must be empty, or the address of this revision",
        ),
    ),
    open_values=frozenset(
        ("meshConfig", "global.proxy.resources", "pilot.resources", "pilot.seccompProfile", "pilot.settings")
    ),
    limits={
        "revision": {
            "pattern": "^([a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?)?$"
        },  # a part of names with at most 63 characters
        "global.imagePullPolicy": {"enum": ["", "Always", "IfNotPresent", "Never"]},
    },
)
