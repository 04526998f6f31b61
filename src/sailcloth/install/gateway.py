"""The chart `gateway`: an Envoy at the edge of the mesh. The control plane fills in the container by injection (`image: auto`), so it has
to run before.
"""

from __future__ import annotations

from .chart import Chart
from .istiod import target
from .template import (
    EachPair,
    Equal,
    First,
    Merge,
    Node,
    Not,
    ReleaseName,
    ReleaseNamespace,
    TrimPrefix,
    Value,
    When,
)

_NAME = First((Value("name"), ReleaseName()))
_SELECTOR = {
    "app": First((Value("labels.app"), _NAME)),
    "istio": First((Value("labels.istio"), TrimPrefix("istio-", _NAME))),
}
_LABELS = Merge(
    {**_SELECTOR, "topology.istio.io/network": When(Value("networkGateway"), Value("networkGateway"))},
    ("labels",),
)
_ACCOUNT = First((Value("serviceAccount.name"), _NAME))
_SCALED = Value("autoscaling.enabled")
_RBAC = "rbac.authorization.k8s.io"


def _given(path: str) -> When:
    """A value, unless it is empty."""
    return When(Value(path), Value(path))


def _meta(name: Node = _NAME, **more: Node) -> Node:
    return {"name": name, "namespace": ReleaseNamespace(), "labels": _LABELS, **more}


_SERVICE_ACCOUNT = {
    "apiVersion": "v1",
    "kind": "ServiceAccount",
    "metadata": _meta(_ACCOUNT, annotations=_given("serviceAccount.annotations")),
}
_ROLE = {
    "apiVersion": f"{_RBAC}/v1",
    "kind": "Role",
    "metadata": _meta(_ACCOUNT),
    "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "watch", "list"]}],
}
_BINDING = {
    "apiVersion": f"{_RBAC}/v1",
    "kind": "RoleBinding",
    "metadata": _meta(_ACCOUNT),
    "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": _ACCOUNT},
    "subjects": [{"kind": "ServiceAccount", "name": _ACCOUNT, "namespace": ReleaseNamespace()}],
}
_CHOICES = (
    *("loadBalancerIP", "loadBalancerClass", "loadBalancerSourceRanges", "externalTrafficPolicy"),
    *("externalIPs", "ipFamilyPolicy", "ipFamilies"),
)
_SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": _meta(annotations=_given("service.annotations")),
    "spec": {
        "type": Value("service.type"),
        "selector": _SELECTOR,
        "ports": Value("service.ports"),
        **{name: _given(f"service.{name}") for name in _CHOICES},
    },
}
_CONTAINER = {
    "name": "istio-proxy",
    "image": "auto",  # injection puts the proxy's image here
    "imagePullPolicy": _given("imagePullPolicy"),
    "securityContext": _given("containerSecurityContext"),
    "env": When(Value("env"), [{"name": "ISTIO_META_UNPRIVILEGED_POD", "value": "true"}, EachPair("env")]),
    "resources": _given("resources"),
    "volumeMounts": _given("volumeMounts"),
}
_POD = {
    "metadata": {
        "labels": Merge(
            {
                **_SELECTOR,
                "sidecar.istio.io/inject": "true",
                "istio.io/rev": _given("revision"),
                "topology.istio.io/network": _given("networkGateway"),
            },
            ("labels",),
        ),
        "annotations": Merge({"inject.istio.io/templates": "gateway"}, ("podAnnotations",)),
    },
    "spec": {
        "serviceAccountName": _ACCOUNT,
        "containers": [_CONTAINER],
        **{
            name: _given(name)
            for name in (
                *("securityContext", "imagePullSecrets", "nodeSelector", "affinity", "tolerations"),
                *("topologySpreadConstraints", "volumes", "priorityClassName", "terminationGracePeriodSeconds"),
            )
        },
    },
}
_DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": _meta(annotations=_given("deploymentAnnotations")),
    "spec": {
        "replicas": When(Not(_SCALED), _given("replicaCount")),
        "minReadySeconds": _given("minReadySeconds"),
        "selector": {"matchLabels": _SELECTOR},
        "template": _POD,
    },
}
_CPU, _MEMORY = "autoscaling.targetCPUUtilizationPercentage", "autoscaling.targetMemoryUtilizationPercentage"
_AUTOSCALER = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": _meta(),
    "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": _NAME},
        "minReplicas": Value("autoscaling.minReplicas"),
        "maxReplicas": Value("autoscaling.maxReplicas"),
        "metrics": [target("cpu", _CPU), When(Value(_MEMORY), target("memory", _MEMORY))],
        "behavior": _given("autoscaling.autoscaleBehavior"),
    },
}
_BUDGET = {
    "apiVersion": "policy/v1",
    "kind": "PodDisruptionBudget",
    "metadata": _meta(),
    "spec": Merge({"selector": {"matchLabels": _SELECTOR}}, ("podDisruptionBudget",)),
}
_NOTES = """\
The gateway starts. Its address, as soon as there is one:

  kubectl -n {{ .Release.Namespace }} get service {{ coalesce .Values.name .Release.Name }}

Let it serve hosts with a Gateway whose selector is

  istio: {{ coalesce .Values.labels.istio (trimPrefix "istio-" (coalesce .Values.name .Release.Name)) }}
"""
CHART = Chart(
    "gateway",
    "A gateway of a Sailcloth mesh",
    {
        "access.yaml": (
            When(Value("serviceAccount.create"), _SERVICE_ACCOUNT),
            When(Value("rbac.enabled"), _ROLE),
            When(Value("rbac.enabled"), _BINDING),
        ),
        "service.yaml": (When(Not(Equal(Value("service.type"), "None")), _SERVICE),),
        "deployment.yaml": (_DEPLOYMENT,),
        "hpa.yaml": (When(_SCALED, _AUTOSCALER),),
        "poddisruptionbudget.yaml": (When(Value("podDisruptionBudget"), _BUDGET),),
    },
    _NOTES,
    open_values=frozenset(("resources", "podAnnotations")),
    limits={
        "service.type": {"enum": ["LoadBalancer", "NodePort", "ClusterIP", "None"]},
        "imagePullPolicy": {"enum": ["", "Always", "IfNotPresent", "Never"]},
    },
)
