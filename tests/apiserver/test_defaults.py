"""What a stored object has that nobody wrote, as on a real cluster; and that giving defaults again changes nothing."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from sailcloth.local.apiserver.kinds import KINDS

Object = dict[str, Any]
RECORDS = {k.kind: k for k in reversed(KINDS)}


def made(kind: str, spec: Any = None, **more: Any) -> Object:
    obj: Object = {"kind": kind, "metadata": {"name": "x", "namespace": "n", "uid": "u"}, **more}
    if spec is not None:
        obj["spec"] = spec
    RECORDS[kind].apply_defaults(obj)
    again = copy.deepcopy(obj)
    RECORDS[kind].apply_defaults(again)
    assert again == obj
    return obj


TEMPLATE: Object = {"spec": {"containers": [{"name": "c", "image": "i:1"}]}}


def test_a_pod() -> None:
    probe = {"httpGet": {"port": 80}}
    container = {
        "name": "c",
        "image": "i",
        "ports": [{"containerPort": 80}],
        "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "readinessProbe": probe,
        "resources": {"limits": {"cpu": "0.5", "memory": "1024Mi"}},
    }
    volumes: list[Object] = [
        {"name": "a"},
        {"name": "b", "configMap": {"name": "x"}},
        {"name": "c", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
        {"name": "d", "hostPath": {"path": "/x"}},
    ]
    obj = made("Pod", {"containers": [container], "volumes": volumes})
    spec, found = obj["spec"], obj["spec"]["containers"][0]
    assert (spec["restartPolicy"], spec["dnsPolicy"], spec["schedulerName"]) == (
        "Always",
        "ClusterFirst",
        "default-scheduler",
    )
    assert (spec["serviceAccountName"], spec["serviceAccount"], spec["enableServiceLinks"]) == (
        "default",
        "default",
        True,
    )
    assert (spec["terminationGracePeriodSeconds"], spec["priority"], len(spec["tolerations"])) == (30, 0, 2)
    assert found["imagePullPolicy"] == "Always"
    assert found["resources"] == {
        "limits": {"cpu": "500m", "memory": "1Gi"},
        "requests": {"cpu": "500m", "memory": "1Gi"},
    }
    assert found["readinessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
    }  # fmt: skip
    assert found["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert found["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] == "v1"
    assert spec["volumes"][0] == {"name": "a", "emptyDir": {}}
    assert spec["volumes"][1]["configMap"]["defaultMode"] == 420
    assert spec["volumes"][2]["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"] == 3600
    assert spec["volumes"][3]["hostPath"]["type"] == ""
    assert obj["status"] == {"phase": "Pending", "qosClass": "Guaranteed"}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("Deployment", {"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600, "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}}),
        ("ReplicaSet", {"replicas": 1}),
        ("StatefulSet", {"replicas": 1, "podManagementPolicy": "OrderedReady", "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}}),
        ("DaemonSet", {"revisionHistoryLimit": 10, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}}),
        ("Job", {"completions": 1, "parallelism": 1, "backoffLimit": 6, "completionMode": "NonIndexed", "suspend": False}),
    ],
)  # fmt: skip
def test_workloads(kind: str, expected: Object) -> None:
    spec = made(kind, {"template": copy.deepcopy(TEMPLATE)})["spec"]
    assert spec.items() >= expected.items()
    pod = spec["template"]["spec"]
    assert pod["containers"][0]["terminationMessagePath"] == "/dev/termination-log"
    assert (pod["restartPolicy"], pod["securityContext"]) == ("Always", {})
    assert spec["template"]["metadata"]["creationTimestamp"] is None


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        ("Service", {"ports": [{"port": 80}]}, {"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster", "ports": [{"port": 80, "targetPort": 80, "protocol": "TCP"}]}),
        ("Service", {"sessionAffinity": "ClientIP"}, {"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}}),
        ("Service", {"type": "LoadBalancer"}, {"allocateLoadBalancerNodePorts": True, "externalTrafficPolicy": "Cluster"}),
        ("CronJob", {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": copy.deepcopy(TEMPLATE)}}}, {"concurrencyPolicy": "Allow", "suspend": False, "failedJobsHistoryLimit": 1}),
        ("NetworkPolicy", {"egress": [{"ports": [{"port": 1}]}]}, {"policyTypes": ["Ingress", "Egress"], "egress": [{"ports": [{"port": 1, "protocol": "TCP"}]}]}),
        ("IngressClass", {"parameters": {"kind": "A"}}, {"parameters": {"kind": "A", "scope": "Cluster"}}),
        ("HorizontalPodAutoscaler", {"maxReplicas": 3}, {"minReplicas": 1}),
        ("ResourceQuota", {"hard": {"cpu": "1000m"}}, {"hard": {"cpu": "1"}}),
        ("LimitRange", {"limits": [{"type": "Container", "max": {"cpu": "2"}}]}, {"limits": [{"type": "Container", "max": {"cpu": "2"}, "default": {"cpu": "2"}, "defaultRequest": {"cpu": "2"}}]}),
        ("PersistentVolumeClaim", {"resources": {"requests": {"storage": "1024Mi"}}}, {"volumeMode": "Filesystem", "resources": {"requests": {"storage": "1Gi"}}}),
    ],
)  # fmt: skip
def test_other_kinds(kind: str, spec: Object, expected: Object) -> None:
    assert made(kind, copy.deepcopy(spec))["spec"].items() >= expected.items()


def test_kinds_without_a_spec() -> None:
    found = made(
        "ClusterRoleBinding", subjects=[{"kind": "User", "name": "u"}], roleRef={"kind": "ClusterRole", "name": "r"}
    )
    assert found["subjects"][0]["apiGroup"] == found["roleRef"]["apiGroup"] == "rbac.authorization.k8s.io"
    assert made("Secret", stringData={"a": "b"})["data"] == {"a": "Yg=="}
    assert made("Endpoints", subsets=[{"ports": [{"port": 1}]}])["subsets"][0]["ports"][0]["protocol"] == "TCP"
