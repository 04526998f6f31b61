"""The charts are current, and a real `helm` makes the same objects of them as `render` does, for many values."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from sailcloth.install import values
from sailcloth.install.chart import Release
from sailcloth.install.charts import CHARTS
from sailcloth.install.render import render
from tools import charts

_CACHED = Path.home() / ".cache" / "sailcloth" / "bin" / "helm"
HELM = shutil.which("helm") or (str(_CACHED) if os.access(_CACHED, os.X_OK) else None)
_INSTALL = f"GOBIN={_CACHED.parent} go install helm.sh/helm/v3/cmd/helm@v3.22.0"
needs_helm = pytest.mark.skipif(HELM is None, reason=f"there is no helm; {_INSTALL}")
TOLERATION = {"key": "a", "operator": "Exists"}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "base": ("base", {}),
    "base without kinds": ("base", {"base": {"enableCRDTemplates": False}}),
    "base without some": (
        "base",
        {"base": {"excludedCRDs": ["rules.config.istio.io"], "enableIngressClass": False}},
    ),
    "istiod": ("istiod", {}),
    "istiod of another registry": (
        "istiod",
        {
            "global": {"hub": "example.com/mesh", "tag": "1.2", "imagePullPolicy": "Always", "imagePullSecrets": ["s"]},
            "revision": "default",
        },
    ),
    "istiod of a revision": (
        "istiod",
        {
            "revision": "1-30",
            "pilot": {"autoscaleEnabled": True},
            "global": {"defaultPodDisruptionBudget": {"enabled": True}, "networkPolicy": {"enabled": True}},
            "meshConfig": {"defaultConfig": {"tracing": {"sampling": 5}}},
        },
    ),
    "istiod with an image of its own": ("istiod", {"pilot": {"image": "example.com/pilot@sha256:00"}}),
    "istiod with everything": (
        "istiod",
        {
            "global": {
                "priorityClassName": "system-cluster-critical",
                "networkPolicy": {"enabled": True},
                "defaultPodDisruptionBudget": {"enabled": False},
                "proxy": {"resources": {"limits": {"cpu": None}}, "privileged": True},
            },
            "pilot": {
                "hub": "h.example",
                "tag": "t",
                "env": {"A": "b", "N": 1000000, "T": True, "F": 1.5, "Q": 'x "y" {{ z }}'},
                "settings": {"workload_cert_ttl_s": 3600},
                "podLabels": {"team": "a", "app": "other"},
                "podAnnotations": {"n": "1"},
                "deploymentLabels": {"l": "true"},
                "deploymentAnnotations": {"d": "e"},
                "serviceAnnotations": {"s": "t"},
                "serviceAccountAnnotations": {"u": "v"},
                "nodeSelector": {"kubernetes.io/os": "linux"},
                "tolerations": [TOLERATION],
                "affinity": {"nodeAffinity": {}},
                "topologySpreadConstraints": [{"maxSkew": 1}],
                "volumes": [{"name": "extra", "emptyDir": {}}],
                "volumeMounts": [{"name": "extra", "mountPath": "/extra"}],
                "ipFamilyPolicy": "PreferDualStack",
                "ipFamilies": ["IPv6", "IPv4"],
                "gatewayDeployments": False,
                "resources": {},
                "seccompProfile": {},
                "memory": {"targetAverageUtilization": 80},
            },
        },
    ),
    "istiod of several replicas": ("istiod", {"pilot": {"replicaCount": 3, "rollingMaxSurge": "1"}}),
    "istiod of as many replicas as it needs": (
        "istiod",
        {"pilot": {"autoscaleEnabled": True, "autoscaleMin": 2, "memory": {"targetAverageUtilization": 80}}},
    ),
    "mesh options": (
        "istiod",
        {
            "meshConfig": {
                "accessLogFile": "/dev/stdout",
                "accessLogFormat": "<%REQ(:METHOD)%> & {{ x }}\n",
                "trustDomain": "example.org",
                "defaultConfig": {"tracing": {"sampling": 100.0}, "proxyMetadata": {"A": "b"}},
                "extensionProviders": [{"name": "zipkin", "zipkin": {"service": "z", "port": 9411}}],
                "rootNamespace": None,
            },
            "sidecarInjectorWebhook": {
                "neverInjectSelector": [{"matchLabels": {"a": "b"}}],
                "templates": {"own": "spec:\n  containers: []\n"},
                "rewriteAppHTTPProbe": False,
            },
        },
    ),
    "istiod with the plugin": ("istiod", {"pilot": {"cni": {"enabled": True, "provider": "multus"}}}),
    "cni": ("cni", {}),
    "cni with everything": (
        "cni",
        {
            "global": {"tag": "1", "imagePullPolicy": "Always", "imagePullSecrets": [{"name": "s"}]},
            "cni": {
                "hub": "h.example",
                "cniBinDir": "/usr/lib/cni",
                "cniNetnsDir": "/run/netns",
                "excludeNamespaces": ["kube-system", "a"],
                "repair": {"deletePods": True, "labelPods": True, "brokenPodLabelKey": "k"},
                "resources": {},
                "seccompProfile": {"type": None},
                "env": {"A": 1},
                "podLabels": {"l": "m"},
                "podAnnotations": {"n": "o"},
                "daemonSetLabels": {"p": "q"},
                "nodeSelector": {"r": "s"},
                "affinity": {"nodeAffinity": {}},
                "tolerations": [],
            },
        },
    ),
    "cni that repairs nothing": ("cni", {"cni": {"image": "example.com/i@sha256:0", "repair": {"enabled": False}}}),
    "telemetry": ("telemetry", {}),
    "telemetry on a volume": (
        "telemetry",
        {
            "global": {"hub": "h.example", "tag": "t", "networkPolicy": {"enabled": True}, "imagePullPolicy": "Always"},
            "telemetry": {
                "persistence": {"enabled": True, "size": "1Gi", "storageClassName": "fast"},
                "settings": {"retention_s": 3600, "address": "not this one", "remote_write": ["http://a/b?c=d&e"]},
                "imagePullSecrets": [{"name": "s"}],
                "podLabels": {"team": "a", "app": "other"},
                "podAnnotations": {"n": "1"},
                "tolerations": [TOLERATION],
                "volumes": [{"name": "v", "emptyDir": {}}],
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                "resources": {},
                "replicaCount": 0,
            },
        },
    ),
    "console": ("console", {}),
    "console for a company": (
        "console",
        {
            "console": {
                "image": "example.com/addons@sha256:00",
                "serviceType": "LoadBalancer",
                "settings": {"view_only": True, "openid_issuer": "https://id.example", "openid_client": "mesh"},
                "nodeSelector": {"kubernetes.io/os": "linux"},
            },
        },
    ),
    "gateway": ("gateway", {}),
    "gateway with everything": (
        "gateway",
        {
            "name": "edge",
            "labels": {"istio": "east", "team": "x"},
            "annotations": {"a": "b"},
            "networkGateway": "east",
            "revision": "r",
            "env": {"A": "1"},
            "replicaCount": 3,
            "autoscaling": {"enabled": False},
            "service": {
                "type": "NodePort",
                "externalTrafficPolicy": "Local",
                "loadBalancerSourceRanges": ["192.0.2.0/24"],
                "annotations": {"c": "d"},
                "ports": [{"name": "tls", "port": 443, "targetPort": 8443, "nodePort": 30443}],
            },
            "podDisruptionBudget": {"minAvailable": 1},
            "serviceAccount": {"name": "sa", "annotations": {"e": "f"}},
            "volumes": [{"name": "v", "emptyDir": {}}],
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            "tolerations": [TOLERATION],
            "imagePullPolicy": "IfNotPresent",
            "imagePullSecrets": [{"name": "s"}],
            "securityContext": {"runAsUser": 1},
            "minReadySeconds": 5,
        },
    ),
    "gateway without much": (
        "gateway",
        {
            "service": {"type": "None"},
            "serviceAccount": {"create": False},
            "rbac": {"enabled": False},
            "autoscaling": {"targetMemoryUtilizationPercentage": 70, "autoscaleBehavior": {"scaleDown": {}}},
            "replicaCount": 0,
            "terminationGracePeriodSeconds": 0,
        },
    ),
}


def helm(tmp_path: Path, chart: str, given: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    assert HELM
    file = tmp_path / "values.yaml"
    file.write_text(json.dumps(given))
    command = [HELM, "template", "the-name", str(charts.FOLDER / chart), "-n", "istio-system", "-f", str(file)]
    environment = {**os.environ, "HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "none")}
    return subprocess.run(
        [*command, "--kube-version", "1.33.0"], capture_output=True, text=True, check=False, env=environment
    )


def by_name(objects: list[dict[str, Any]]) -> dict[str, str]:
    found = {f"{o['kind']} {o['metadata']['name']}": json.dumps(o, indent=1, sort_keys=True) for o in objects}
    assert len(found) == len(objects)
    return found


def test_the_charts_are_current() -> None:
    assert charts.stale() == [], "run python tools/charts.py"


@needs_helm
@pytest.mark.parametrize("case", CASES)
def test_helm_makes_the_same_objects(tmp_path: Path, case: str) -> None:
    chart, given = CASES[case]
    done = helm(tmp_path, chart, given)
    assert done.returncode == 0, done.stderr
    made = [o for o in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader) if o]
    all_values = values.with_defaults(CHARTS[chart], given)
    assert by_name(made) == by_name(render(CHARTS[chart], Release("the-name", "istio-system", all_values)))


@needs_helm
@pytest.mark.parametrize("chart", CHARTS)
def test_helm_finds_nothing_to_blame(chart: str, tmp_path: Path) -> None:
    assert HELM
    done = subprocess.run(
        [HELM, "lint", "--strict", str(charts.FOLDER / chart), "-n", "istio-system", "--kube-version", "1.33.0"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_helm
@pytest.mark.parametrize(
    ("chart", "given", "words"),
    [
        ("istiod", {"revision": "Canary_1"}, "revision"),
        ("istiod", {"global": {"istioNamespace": "mesh"}}, "global.istioNamespace must be istio-system"),
        ("istiod", {"pilot": {"replicaCont": 1}}, "replicaCont"),
        ("istiod", {"pilot": {"env": "x"}}, "env"),
        ("gateway", {"service": {"type": "Balancer"}}, "type"),
        ("telemetry", {"telemetry": {"replicaCount": 2}}, "replicaCount"),
        ("console", {"console": {"serviceType": "Balancer"}}, "serviceType"),
    ],
)
def test_helm_refuses_what_has_no_effect(tmp_path: Path, chart: str, given: dict[str, Any], words: str) -> None:
    done = helm(tmp_path, chart, given)
    assert done.returncode != 0
    assert words in done.stderr
