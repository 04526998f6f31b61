"""The chart `cni`: on each node a pod that installs the CNI plugin, and captures the traffic of pods for it. It has the rights that pods
of the mesh then do not need: root on the node's folders of the container runtime, NET_ADMIN, and SYS_ADMIN to enter network namespaces.
"""

from __future__ import annotations

from sailcloth import __version__

from . import access
from .chart import Chart
from .template import (
    Contains,
    EachPair,
    First,
    Format,
    IfElse,
    JsonText,
    Merge,
    Node,
    ReleaseNamespace,
    Value,
    When,
)

NAME = "istio-cni-node"
_ACCOUNT = "istio-cni"
_RBAC = "rbac.authorization.k8s.io"
_SELECTOR = {"k8s-app": NAME}
_LABELS: dict[str, Node] = {
    **_SELECTOR,
    "app.kubernetes.io/name": "istio-cni",
    "app.kubernetes.io/part-of": "istio",
    "app.kubernetes.io/version": __version__,
}


def _given(path: str) -> When:
    return When(Value(path), Value(path))


def _meta(name: str) -> Node:
    return {"name": name, "namespace": ReleaseNamespace(), "labels": _LABELS}


def _binding(kind: str, role: str, metadata: Node) -> Node:
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": f"{kind}Binding",
        "metadata": metadata,
        "roleRef": {"apiGroup": _RBAC, "kind": kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": _ACCOUNT, "namespace": ReleaseNamespace()}],
    }


_ROLE = {"apiVersion": f"{_RBAC}/v1"}
_WHOLE = {"name": _ACCOUNT, "labels": _LABELS}
_RULES = [
    access.rule("", ["pods"], ["get", "list", "watch"]),
    When(Value("cni.repair.deletePods"), access.rule("", ["pods"], ["delete"])),
    When(Value("cni.repair.labelPods"), access.rule("", ["pods"], ["patch"])),
]
_ACCESS = (
    {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": _meta(_ACCOUNT),
        "imagePullSecrets": When(Value("global.imagePullSecrets"), Value("global.imagePullSecrets")),
    },
    {**_ROLE, "kind": "ClusterRole", "metadata": _WHOLE, "rules": _RULES},
    _binding("ClusterRole", _ACCOUNT, _WHOLE),
    # Whether its pod is only replaced when it ends.
    {
        **_ROLE,
        "kind": "Role",
        "metadata": _meta(_ACCOUNT),
        "rules": [access.rule("apps", ["daemonsets"], ["get"], [NAME])],
    },
    _binding("Role", _ACCOUNT, _meta(_ACCOUNT)),
)


_SETTINGS: dict[str, Node] = {
    "CNI_NETNS_DIR": Value("cni.cniNetnsDir"),
    "REPAIR_ENABLED": JsonText(Value("cni.repair.enabled")),
    "REPAIR_REPAIR_PODS": JsonText(Value("cni.repair.repairPods")),
    "REPAIR_DELETE_PODS": JsonText(Value("cni.repair.deletePods")),
    "REPAIR_LABEL_PODS": JsonText(Value("cni.repair.labelPods")),
    "REPAIR_INIT_CONTAINER_NAME": Value("cni.repair.initContainerName"),
    "REPAIR_BROKEN_POD_LABEL_KEY": Value("cni.repair.brokenPodLabelKey"),
    "REPAIR_BROKEN_POD_LABEL_VALUE": Value("cni.repair.brokenPodLabelValue"),
    "EXCLUDE_NAMESPACES": JsonText(Value("cni.excludeNamespaces")),
}
_CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _meta("istio-cni-config"), "data": _SETTINGS}
_FOLDERS: tuple[
    tuple[str, Node, Node, bool], ...
] = (  # name, mounted at, of the node, with what is mounted into it later
    ("cni-bin-dir", "/host/opt/cni/bin", Value("cni.cniBinDir"), False),
    ("cni-net-dir", "/host/etc/cni/net.d", Value("cni.cniConfDir"), False),
    ("cni-run-dir", "/var/run/istio-cni", "/var/run/istio-cni", False),
    ("cni-netns-dir", Value("cni.cniNetnsDir"), Value("cni.cniNetnsDir"), True),
)
_TAG = First((Value("cni.tag"), Value("global.tag"), __version__))
_IMAGE = Format("{}/{}:{}", (First((Value("cni.hub"), Value("global.hub"))), Value("cni.image"), _TAG))


def _field(name: str, path: str) -> Node:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _probe(path: str, period: int) -> Node:
    return {"httpGet": {"path": path, "port": 8000}, "periodSeconds": period}


_CONTAINER = {
    "name": "install-cni",
    "image": IfElse(Contains(Value("cni.image"), "/"), Value("cni.image"), _IMAGE),
    "imagePullPolicy": _given("global.imagePullPolicy"),
    "envFrom": [{"configMapRef": {"name": "istio-cni-config"}}],
    "env": [_field("NODE_NAME", "spec.nodeName"), _field("POD_NAMESPACE", "metadata.namespace"), EachPair("cni.env")],
    "readinessProbe": _probe("/readyz", 2),
    "livenessProbe": _probe("/healthz", 10),
    "resources": _given("cni.resources"),
    "securityContext": {
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsUser": 0,
        "runAsGroup": 0,
        "runAsNonRoot": False,
        "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "SYS_ADMIN"]},
    },
    "volumeMounts": [
        {"name": name, "mountPath": at, **({"mountPropagation": "HostToContainer", "readOnly": True} if later else {})}
        for name, at, _, later in _FOLDERS
    ],
}
_POD = {
    "metadata": {
        "labels": Merge(
            {**_LABELS, "sidecar.istio.io/inject": "false", "istio.io/dataplane-mode": "none"}, ("cni.podLabels",)
        ),
        # The configuration is read once: another one needs another process.
        "annotations": Merge(
            {"sidecar.istio.io/inject": "false", "sailcloth.io/settings": JsonText(_SETTINGS)}, ("cni.podAnnotations",)
        ),
    },
    "spec": {
        "serviceAccountName": _ACCOUNT,
        "priorityClassName": "system-node-critical",
        "terminationGracePeriodSeconds": 15,
        "nodeSelector": Merge({"kubernetes.io/os": "linux"}, ("cni.nodeSelector",)),
        "affinity": _given("cni.affinity"),
        "tolerations": _given("cni.tolerations"),
        "securityContext": When(Value("cni.seccompProfile"), {"seccompProfile": Value("cni.seccompProfile")}),
        "containers": [_CONTAINER],
        "volumes": [
            {"name": name, "hostPath": {"path": path, "type": "DirectoryOrCreate"}} for name, _, path, _ in _FOLDERS
        ],
    },
}
_DAEMON_SET = {
    "apiVersion": "apps/v1",
    "kind": "DaemonSet",
    "metadata": {"name": NAME, "namespace": ReleaseNamespace(), "labels": Merge(_LABELS, ("cni.daemonSetLabels",))},
    "spec": {
        "selector": {"matchLabels": _SELECTOR},
        "updateStrategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": Value("cni.rollingMaxUnavailable")},
        },
        "template": _POD,
    },
}
_NOTES = """\
The CNI plugin comes to each node. See that it is there:

  kubectl -n {{ .Release.Namespace }} rollout status daemonset istio-cni-node

Then tell the control plane, so that pods are injected without rights of their own:

  helm upgrade istiod charts/istiod -n istio-system --reuse-values --set pilot.cni.enabled=true
"""
CHART = Chart(
    "cni",
    "The CNI plugin of a Sailcloth mesh",
    {"access.yaml": _ACCESS, "configmap.yaml": (_CONFIG,), "daemonset.yaml": (_DAEMON_SET,)},
    _NOTES,
    open_values=frozenset(("cni.resources", "cni.seccompProfile")),
    limits={"global.imagePullPolicy": {"enum": ["", "Always", "IfNotPresent", "Never"]}},
)
