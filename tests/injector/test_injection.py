"""What injection adds to a pod, and when: a table of own cases, and Istio's published ones when they are at hand."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sailcloth.injector import values, webhook
from sailcloth.injector.config import InjectorConfig
from sailcloth.injector.inject import InjectionError, inject, inject_object, is_injected

Object = dict[str, Any]
CASES = Path(os.environ.get("SAILCLOTH_CASES", Path(__file__).parents[3] / "shared" / "cases"))
FILE = CASES / "sidecar_injection.json"


def _named(made: Object) -> set[str]:
    return {v["name"] for v in made["spec"].get("volumes") or ()}


OVERRIDES = "proxy.istio.io/overrides"
LATER_ANNOTATIONS = ("prometheus.istio.io/scrape-targets",)  # metrics of several ports
LATER_VARIABLES = ("ISTIO_PROMETHEUS_ANNOTATIONS", "COMPLIANCE_POLICY", "GODEBUG")
# Published cases that need what this injector does not do, by name.
DIFFERENT = {
    "merge-probers.yaml.injected": "probes of a pod that was injected before are merged",
    "grpc-simple.yaml.injected": "the template for proxyless gRPC",
    "grpc-agent.yaml.injected": "the template for proxyless gRPC",
    "hello-cncf-networks.yaml.injected": "CNI by default",
    "hello-existing-cncf-networks-json.yaml.injected": "CNI by default",
    "hello-openshift-custom-injection.yaml.injected": "user ids out of annotations of OpenShift's namespaces",
    "cronjob.yaml.injected": "the published result leaves the job's template alone",
    "daemonset-old-version.yaml.injected": "a kubelet without native sidecars",
    "job-old-version.yaml.injected": "a kubelet without native sidecars",
}


def pod(**metadata: Any) -> Object:
    container = {"name": "app", "image": "app", "ports": [{"containerPort": 8080, "name": "http"}]}
    container["readinessProbe"] = {"httpGet": {"path": "/ready", "port": "http"}, "timeoutSeconds": 2}  # type: ignore[assignment]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "app", **metadata},
        "spec": {"containers": [container]},
    }


def test_the_proxy_is_a_native_sidecar_behind_the_capture() -> None:
    made = inject(pod(), InjectorConfig(native_sidecars=True))
    assert [c["name"] for c in made["spec"]["initContainers"]] == ["istio-init", "istio-proxy"]
    assert made["spec"]["initContainers"][1]["restartPolicy"] == "Always"
    status = json.loads(made["metadata"]["annotations"]["sidecar.istio.io/status"])
    assert status["initContainers"] == ["istio-init", "istio-proxy"]


@pytest.mark.parametrize("form", ["by name", "list"])
def test_volumes_of_the_users_own_reach_the_proxy(form: str) -> None:
    volume, mount = {"secret": {"secretName": "certs"}}, {"mountPath": "/etc/certs", "readOnly": True}
    values: list[Any] = [[{"name": "certs", **each}] if form == "list" else {"certs": each} for each in (volume, mount)]
    names = ("sidecar.istio.io/userVolume", "sidecar.istio.io/userVolumeMount")
    made = inject(pod(annotations=dict(zip(names, map(json.dumps, values), strict=True))), InjectorConfig())
    assert {"name": "certs", **volume} in made["spec"]["volumes"]
    (proxy,) = [c for c in _all(made) if c["name"] == "istio-proxy"]
    assert {"name": "certs", **mount} in proxy["volumeMounts"]


@pytest.mark.parametrize(
    ("options", "annotations", "ending"),
    [
        ({}, {}, ""),
        ({"image": {"imageType": "distroless"}}, {}, "-distroless"),
        ({"image": {"imageType": "distroless"}}, {"sidecar.istio.io/proxyImageType": "debug"}, "-debug"),
        ({"image": {"imageType": "default"}}, {}, ""),
    ],
)
def test_the_images_type_ends_its_tag(options: Object, annotations: Object, ending: str) -> None:
    made = inject(pod(annotations=annotations), InjectorConfig(proxy_config=options, image="proxy:1"))
    assert {c["image"] for c in _all(made) if c["name"].startswith("istio")} == {f"proxy:1{ending}"}


@pytest.mark.parametrize(("given", "wanted"), [("Always", None), ("Never", "Never")])
def test_the_api_servers_pull_policy_goes_with_the_image_auto(given: str, wanted: str | None) -> None:
    """It takes a name without a tag for the newest one. A tag of ours need not be asked for each time."""
    gateway = pod(annotations={"inject.istio.io/templates": "gateway"})
    gateway["spec"]["containers"] = [{"name": "istio-proxy", "image": "auto", "imagePullPolicy": given}]
    (proxy,) = [c for c in _all(inject(gateway, InjectorConfig())) if c["name"] == "istio-proxy"]
    assert (proxy["image"], proxy.get("imagePullPolicy")) == (InjectorConfig().image, wanted)


def test_the_pod_given_is_not_changed() -> None:
    given = pod()
    before = json.dumps(given)
    inject(given, InjectorConfig())
    assert json.dumps(given) == before


def test_probes_go_to_the_agent_with_their_originals_beside_it() -> None:
    made = inject(pod(), InjectorConfig())
    application = next(c for c in made["spec"]["containers"] if c["name"] == "app")
    assert application["readinessProbe"]["httpGet"] == {"path": "/app-health/app/readyz", "port": 15020}
    proxy = next(c for c in _all(made) if c["name"] == "istio-proxy")
    probers = next(e["value"] for e in proxy["env"] if e["name"] == "ISTIO_KUBE_APP_PROBERS")
    assert json.loads(probers)["/app-health/app/readyz"] == {
        "httpGet": {"path": "/ready", "port": 8080},
        "timeoutSeconds": 2,
    }


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, True),
        ({"labels": {"sidecar.istio.io/inject": "false"}}, False),
        ({"annotations": {"sidecar.istio.io/inject": "false"}}, False),
        ({"labels": {"sidecar.istio.io/inject": "true"}, "annotations": {"sidecar.istio.io/inject": "false"}}, True),
    ],
)
def test_who_is_injected(metadata: Object, expected: bool) -> None:
    assert is_injected(pod(**metadata), "default", InjectorConfig()) is expected


@pytest.mark.parametrize("namespace", ["kube-system", "kube-public"])
def test_the_clusters_own_pods_are_left_alone(namespace: str) -> None:
    assert not is_injected(pod(), namespace, InjectorConfig())


def test_a_pod_in_the_hosts_network_is_left_alone() -> None:
    given = pod()
    given["spec"]["hostNetwork"] = True
    assert not is_injected(given, "default", InjectorConfig())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("traffic.sidecar.istio.io/includeInboundPorts", "80,no"),
        ("traffic.sidecar.istio.io/includeOutboundIPRanges", "10.0.0.0/99"),
        ("sidecar.istio.io/proxyCPU", "much"),
        ("proxy.istio.io/config", "["),
        ("sidecar.istio.io/userVolume", "{"),
        ("sidecar.istio.io/userVolumeMount", '[{"mountPath": "/x"}]'),
    ],
)
def test_a_bad_annotation_is_named(name: str, value: str) -> None:
    with pytest.raises(InjectionError, match=name.rpartition("/")[2]):
        inject(pod(annotations={name: value}), InjectorConfig())


def _all(made: Object) -> list[Object]:
    return [*made["spec"].get("initContainers", []), *made["spec"]["containers"]]


def _templates(obj: Object) -> Iterator[Object]:
    if obj.get("kind") == "List":
        for item in obj["items"]:
            yield from _templates(item)
    elif obj.get("kind") == "Pod":
        yield obj
    elif "template" in (obj.get("spec") or {}):
        yield obj["spec"]["template"]


def _plain(value: Any) -> Any:
    """With whole CPUs as Kubernetes writes them."""
    return json.loads(json.dumps(value).replace('"3000m"', '"3"'))


def _resources(requests: Object, limits: Object) -> Object:
    return {"global": {"proxy": {"resources": {"requests": requests, "limits": limits}}}}


def _published() -> list[Object]:
    if not FILE.exists():
        return []
    cases: list[Object] = json.loads(FILE.read_text())["cases"]
    return [c for c in cases if c["in"] and c["want"] and not c.get("customMesh")]


# Files of values that cases name and do not have; what they say follows from their names and the outcomes.
VALUES_FILES: dict[str, Object] = {
    "hello-image-secrets-in-values.iop.yaml": {"global": {"imagePullSecrets": ["barSecret"]}},
    "proxy-resources-null.iop.yaml": _resources({"cpu": None, "memory": "150Mi"}, {"cpu": None, "memory": "500Mi"}),
    "proxy-resources-memory-null.iop.yaml": _resources({"cpu": "50m", "memory": None}, {"cpu": "100m", "memory": None}),
    "proxy-resources-mixed-null.iop.yaml": _resources(
        {"cpu": "100m", "memory": None, "ephemeral-storage": "1Gi"}, {"cpu": None, "memory": "500Mi"}
    ),
}


def _values(case: Object) -> Object:
    """The values of an installation with a case's flags."""
    values: Object = json.loads(json.dumps(VALUES_FILES.get(case.get("inFilePath") or "", {})))
    for flag in case.get("setFlags") or ():
        path, _, text = flag.partition("=")
        place = values
        *parents, last = {
            "components.cni.enabled": "pilot.cni.enabled",
            "values.cni.provider": "pilot.cni.provider",
        }.get(path, path.removeprefix("values.")).split(".")
        for name in parents:
            place = place.setdefault(name, {})
        place[last] = yaml.safe_load(text)
    return values


@pytest.mark.skipif(not FILE.exists(), reason="sidecar_injection.json is not at hand")
@pytest.mark.parametrize("case", _published(), ids=lambda c: c["name"])
def test_published_cases(case: Object) -> None:
    """The same containers in the same order, and what the application's own containers become."""
    if case["name"] in DIFFERENT:
        pytest.skip(DIFFERENT[case["name"]])
    config = values.apply(InjectorConfig(image="registry.istio.io/testing/proxyv2:latest"), _values(case))
    made = [t for d in yaml.safe_load_all(case["in"]) if d for t in _templates(inject_object(d, config))]
    want = [t for d in yaml.safe_load_all(case["want"]) if d for t in _templates(d)]
    assert len(made) == len(want)
    for ours, theirs in zip(made, want, strict=True):
        assert ours["metadata"].get("labels") == theirs["metadata"].get("labels")
        found, told = (dict(t["metadata"].get("annotations") or {}) for t in (ours, theirs))
        for each in (found, told):
            for name in LATER_ANNOTATIONS:
                each.pop(name, None)
            each[OVERRIDES] = json.loads(each.get(OVERRIDES, "{}").replace('"3000m"', '"3"'))
        assert found == told
        assert _named(ours) == _named(theirs)
        assert [c["name"] for c in _all(ours)] == [c["name"] for c in _all(theirs)]
        assert ours["spec"].get("imagePullSecrets") == theirs["spec"].get("imagePullSecrets")
        for mine, other in zip(_all(ours), _all(theirs), strict=True):
            if mine["name"] == "istio-proxy":
                names = [[e["name"] for e in c["env"] if e["name"] not in LATER_VARIABLES] for c in (mine, other)]
                assert names[0] == names[1]
                assert mine["securityContext"] == other["securityContext"]
            if mine["name"] in ("istio-proxy", "istio-init", "istio-validation"):
                for field in ("image", "imagePullPolicy", "resources"):
                    assert _plain(mine.get(field)) == other.get(field), (mine["name"], field)
            if mine["name"] not in ("istio-proxy", "istio-init", "istio-validation"):
                for field in ("readinessProbe", "livenessProbe", "startupProbe", "lifecycle"):
                    assert mine.get(field) == other.get(field), (mine["name"], field)


@pytest.mark.skipif(not FILE.exists(), reason="sidecar_injection.json is not at hand")
def test_published_errors() -> None:
    cases = [c for c in json.loads(FILE.read_text())["cases"] if c.get("expectedError")]
    assert cases
    for case in cases:
        with pytest.raises(InjectionError) as error:
            [inject_object(d, InjectorConfig()) for d in yaml.safe_load_all(case["in"]) if d]
        wanted, found = (text.lower().replace("outbound", "") for text in (case["expectedError"], str(error.value)))
        assert wanted in found


def test_variables_of_the_mesh_and_of_the_pod_are_joined_in_both_containers() -> None:
    shared = {"concurrency": 2, "proxyMetadata": {"ISTIO_META_DNS_CAPTURE": "true", "ISTIO_META_IDLE_TIMEOUT": "1m"}}
    own = json.dumps({"proxyMetadata": {"ISTIO_META_DNS_CAPTURE": False}})
    made = inject(pod(annotations={"proxy.istio.io/config": own}), InjectorConfig(proxy_config=shared))
    for container in made["spec"]["initContainers"]:
        env = {e["name"]: e.get("value") for e in container["env"]}
        assert (env["ISTIO_META_DNS_CAPTURE"], env["ISTIO_META_IDLE_TIMEOUT"]) == ("false", "1m")
    options = json.loads(env["PROXY_CONFIG"] or "")
    assert options["concurrency"] == 2
    assert options["proxyMetadata"]["ISTIO_META_DNS_CAPTURE"] is False


def test_variables_that_are_no_object_are_refused() -> None:
    annotations = {"proxy.istio.io/config": "proxyMetadata: [a]"}
    with pytest.raises(InjectionError, match="proxyMetadata must be an object"):
        inject(pod(annotations=annotations), InjectorConfig())


VALUES = """
global: {hub: example.com/mesh, tag: "1", logging: {level: "all:debug"}, proxy: {excludeIPRanges: 10.1.0.0/16, logLevel: info}}
sidecarInjectorWebhook:
  injectedAnnotations: {team: mesh}
  neverInjectSelector: [{matchExpressions: [{key: job, operator: Exists}]}]
  templates:
    sidecar: "{{ if something }}"
    extra: |
      metadata: {labels: {from: "{{ .ObjectMeta.Name }}-{{ .Revision }}"}}
      spec:
        containers:
        - name: istio-proxy
          env: [{name: HUB, value: "{{ .Values.global.hub }}"}]
        - name: helper
          image: helper
    hard: "{{ if true }}a: b{{ end }}"
"""


def test_values_of_an_installation() -> None:
    config = values.of_config_map({"values": VALUES})
    made = inject(pod(), config)
    init, proxy = made["spec"]["initContainers"]
    assert init["image"] == proxy["image"] == "example.com/mesh/proxyv2:1"
    assert init["args"][init["args"].index("-x") + 1] == "10.1.0.0/16"
    assert {"--proxyLogLevel=info", "--log_output_level=all:debug"} <= set(proxy["args"])
    assert made["metadata"]["annotations"]["team"] == "mesh"
    assert not is_injected(pod(labels={"job": "x"}), "default", config)


@pytest.mark.parametrize("default", [False, True])
def test_a_template_of_the_users_own(default: bool) -> None:
    settings = "defaultTemplates: [sidecar, extra]" if default else ""
    config = values.of_config_map({"values": VALUES, "config": settings})
    annotations = {} if default else {"inject.istio.io/templates": "sidecar,extra"}
    made = inject(pod(annotations=annotations), config)
    assert made["metadata"]["labels"]["from"] == "app-default"
    assert [c["name"] for c in made["spec"]["containers"]] == ["app", "helper"]
    assert {"name": "HUB", "value": "example.com/mesh"} in made["spec"]["initContainers"][1]["env"]


def test_a_template_alone_brings_no_proxy() -> None:
    made = inject(pod(annotations={"inject.istio.io/templates": "extra"}), values.of_config_map({"values": VALUES}))
    assert "initContainers" not in made["spec"]
    assert "sidecar.istio.io/status" not in made["metadata"]["annotations"]


@pytest.mark.parametrize(
    ("name", "text"), [("none", "there are extra, gateway, hard, sidecar"), ("hard", "template hard: {{ if true }}")]
)
def test_a_template_that_does_not_work_is_named(name: str, text: str) -> None:
    with pytest.raises(InjectionError, match=text):
        inject(pod(annotations={"inject.istio.io/templates": name}), values.of_config_map({"values": VALUES}))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("global: {proxy: {resources: 3}}", "global.proxy.resources: must be an object"),
        ("global: {proxy: {privileged: perhaps}}", "global.proxy.privileged: 'perhaps'"),
        ("global: {imagePullSecrets: a}", "global.imagePullSecrets"),
        ("[", "expected"),
        ("sidecarInjectorWebhook: {neverInjectSelector: 3}", "neverInjectSelector: must be a list"),
        ("sidecarInjectorWebhook: {alwaysInjectSelector: [x]}", "alwaysInjectSelector: must be an object"),
        ("sidecarInjectorWebhook: {neverInjectSelector: [{matchLabels: 3}]}", "matchLabels: must be an object"),
        ("sidecarInjectorWebhook: {neverInjectSelector: [{matchExpressions: x}]}", "matchExpressions: must be a list"),
        ("sidecarInjectorWebhook: {neverInjectSelector: [{matchExpressions: [{values: 3}]}]}", "matchExpressions"),
        ("sidecarInjectorWebhook: {defaultTemplates: [{a: b}]}", "defaultTemplates: must be a list of names"),
    ],
)
def test_a_bad_value_is_named(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        values.of_config_map({"values": text})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("spec: 3", "spec must be an object"),
        ("metadata: [a]", "metadata must be an object"),
        ("spec: {containers: 3}", "spec.containers must be a list of objects"),
        ("spec: {initContainers: [3]}", "spec.initContainers must be a list of objects"),
        ("spec: {containers: [{image: x}]}", "containers: each item must be an object with name"),
        ("spec: {containers: [{name: [a]}]}", "containers: each item must be an object with name"),
        ("spec: {containers: [{name: app, env: [3]}, {name: istio-proxy, env: [3]}]}", "env: each item"),
        ("spec: {volumes: [x]}", "volumes: each item must be an object with name"),
    ],
)
def test_a_template_of_wrong_types_is_a_refusal_of_the_pod(text: str, problem: str) -> None:
    config = values.of_config_map({"config": json.dumps({"templates": {"t": text}})})
    asked = {"uid": "u", "namespace": "default", "object": pod(annotations={"inject.istio.io/templates": "sidecar,t"})}
    answer = webhook.review(asked, config)
    assert not answer["allowed"]
    assert answer["status"]["message"].startswith(f"sidecar injection: template t: {problem}")


@pytest.mark.parametrize("name", ["grpc-agent", "grpc-simple"])
def test_pods_of_proxyless_grpc_get_a_sidecar(name: str) -> None:
    """Published manifests name these templates; a sidecar serves their programs as well."""
    pod = {"metadata": {"annotations": {"inject.istio.io/templates": name}}, "spec": {"containers": [{"name": "a"}]}}
    containers = inject(pod, InjectorConfig())["spec"]
    assert "istio-proxy" in [c["name"] for k in ("containers", "initContainers") for c in containers.get(k, ())]
