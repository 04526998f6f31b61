"""What an installation is asked for: profiles, files, `--set`, and what becomes of each field of an IstioOperator."""

from __future__ import annotations

from typing import Any

import pytest

from sailcloth.install import spec
from sailcloth.install.profiles import PROFILES
from sailcloth.install.values import InvalidValues


def plan(document: Any = None, *sets: str) -> spec.Plan:
    return spec.plan(spec.given([spec.from_document(document)], sets))


def release(made: spec.Plan, name: str) -> dict[str, Any]:
    (found,) = (c.release.values for c in made.components if c.release.name == name)
    return dict(found)


def operator(**fields: Any) -> dict[str, Any]:
    return {"apiVersion": spec.API_VERSION, "kind": spec.KIND, "spec": fields}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("profile=demo", {"profile": "demo"}),
        ("global.hub=h.example/a=b", {"values": {"global": {"hub": "h.example/a=b"}}}),
        ("values.pilot.replicaCount=1", {"values": {"pilot": {"replicaCount": 1}}}),
        ("meshConfig.enableTracing=true", {"meshConfig": {"enableTracing": True}}),
        (
            r"pilot.nodeSelector.kubernetes\.io/os=linux",
            {"values": {"pilot": {"nodeSelector": {"kubernetes.io/os": "linux"}}}},
        ),
        ("global.imagePullSecrets={a,b}", {"values": {"global": {"imagePullSecrets": ["a", "b"]}}}),
        ('pilot.env={"A": "b"}', {"values": {"pilot": {"env": {"A": "b"}}}}),
        ("components.ingressGateways[0].enabled=false", {"components": {"ingressGateways": [{"enabled": False}]}}),
        ("tag=0.1.0", {"tag": "0.1.0"}),
        ("tag=007", {"tag": "007"}),
    ],
)
def test_set(text: str, wanted: dict[str, Any]) -> None:
    assert spec.set_value({}, text) == wanted


@pytest.mark.parametrize("text", ["profile", "=x", "[0]=x", "a..b[=x", "components.ingressGateways[4000].enabled=true"])
def test_set_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="--set"):
        spec.set_value({}, text)


def test_set_does_not_reach_into_texts() -> None:
    with pytest.raises(ValueError, match="no list"):
        spec.set_value({"values": {"a": "text"}}, "values[0]=1")


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_can_be_installed(name: str) -> None:
    made = plan({"profile": name})
    assert made.warnings == []
    assert [c.name for c in made.components] == {
        "default": ["Base", "Pilot", "IngressGateways"],
        "demo": ["Base", "Pilot", "Telemetry", "Console", "IngressGateways", "EgressGateways"],
        "minimal": ["Base", "Pilot"],
        "empty": [],
        "preview": ["Base", "Pilot", "IngressGateways"],
    }[name]


def test_what_comes_later_wins() -> None:
    files = [spec.from_document(d) for d in (operator(profile="demo", tag="a"), {"global": {"tag": "b"}, "tag": "c"})]
    made = spec.plan(spec.given(files, ["values.global.hub=h"]))
    root = release(made, "istiod")["global"]
    assert (root["tag"], root["hub"]) == ("c", "h")
    assert release(made, "istiod")["meshConfig"]["accessLogFile"] == "/dev/stdout"


def test_an_operators_fields() -> None:
    made = plan(
        operator(
            hub="h.example",
            tag="1",
            meshConfig={"defaultConfig": {"tracing": {"sampling": 5}}},
            components={
                "pilot": {
                    "k8s": {
                        "resources": {"requests": {"cpu": "1"}},
                        "env": [{"name": "A", "value": "b"}, {"name": "C", "valueFrom": {}}],
                        "priorityClassName": "high",
                        "overlays": [],
                    }
                },
                "ingressGateways": [
                    {
                        "name": "istio-ingressgateway",
                        "k8s": {"service": {"type": "NodePort"}, "hpaSpec": {"maxReplicas": 9}},
                    },
                    {"name": "second", "namespace": "edge", "enabled": True, "label": {"istio": "second"}, "label2": 1},
                ],
            },
            values={
                "gateways": {"second": {"autoscaleEnabled": False, "x": 1}, "third": {}},
                "kiali": {"enabled": True},
            },
            unknown=1,
        )
    )
    istiod = release(made, "istiod")
    assert istiod["global"]["hub"] == "h.example"
    assert istiod["meshConfig"]["defaultConfig"] == {
        "discoveryAddress": "",
        "tracing": {"sampling": 5},
    }
    assert istiod["pilot"]["resources"]["requests"] == {"cpu": "1", "memory": "256Mi"}
    assert istiod["pilot"]["env"] == {"A": "b"}
    assert istiod["global"]["priorityClassName"] == "high"
    first, second = release(made, "istio-ingressgateway"), release(made, "second")
    assert (first["service"]["type"], first["autoscaling"]["maxReplicas"]) == ("NodePort", 9)
    assert first["serviceAccount"]["name"] == "istio-ingressgateway-service-account"
    assert (second["labels"], second["autoscaling"]["enabled"]) == ({"istio": "second"}, False)
    assert {c.release.namespace for c in made.components if c.release.name == "second"} == {"edge"}
    assert [w.partition(":")[0] for w in made.warnings] == [
        "unknown",
        "values.kiali",
        "values.gateways.third",
        "components.pilot.k8s.env[1].valueFrom",
        "components.pilot.k8s.overlays",
        "values.gateways.second.x",
        "components.ingressGateways[1].label2",
    ]


def test_the_plugin_is_installed_and_the_control_plane_knows() -> None:
    asked = {"enabled": True, "namespace": "kube-system", "k8s": {"resources": {"requests": {"cpu": "1m"}}}}
    made = plan(operator(tag="1", components={"cni": asked}, values={"cni": {"excludeNamespaces": ["a"], "x": 1}}))
    assert [c.name for c in made.components] == ["Base", "Cni", "Pilot", "IngressGateways"]
    own = release(made, "istio-cni")
    assert (own["global"]["tag"], own["cni"]["excludeNamespaces"]) == ("1", ["a"])
    assert own["cni"]["resources"]["requests"]["cpu"] == "1m"
    assert {c.release.namespace for c in made.components if c.name == "Cni"} == {"kube-system"}
    assert release(made, "istiod")["pilot"]["cni"]["enabled"]
    assert made.warnings == ["values.cni.x: has no effect here"]


def test_the_egress_gateway_is_no_load_balancer() -> None:
    assert release(plan({"profile": "demo"}), "istio-egressgateway")["service"]["type"] == "ClusterIP"


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (operator(profile="none"), "there is no profile 'none'; use default, demo"),
        (operator(revision="Canary_1"), "revision: "),
        (operator(namespace="mesh"), "global.istioNamespace must be istio-system"),
        (operator(components={"ztunnel": {"enabled": True}}), "components.ztunnel.enabled: ambient mode is not there"),
        (operator(components={"cni": {"enabled": True}}, values={"cni": {"repair": 1}}), "values.cni.repair: must be"),
        (operator(components={"ingressGateways": {}}), "components.ingressGateways: must be a list"),
        (
            operator(components={"ingressGateways": [{"enabled": True, "name": ""}]}),
            "components.ingressGateways[1].name",
        ),
        (operator(components=[]), "components: must be an object"),
        (operator(values="x"), "values: must be an object"),
        ({"pilot": {"replicaCount": "2"}}, "values.pilot.replicaCount: must be an integer"),
        ({"global": "x"}, "values.global: must be an object"),
    ],
)
def test_what_cannot_be_installed(document: Any, words: str) -> None:
    with pytest.raises(InvalidValues) as error:
        plan(document)
    assert words in str(error.value)


@pytest.mark.parametrize("document", [[], "x", {"kind": "Service", "apiVersion": "v1"}])
def test_what_is_no_operator(document: Any) -> None:
    with pytest.raises(ValueError, match="IstioOperator"):
        spec.from_document(document)


def test_the_complete_spec_is_the_same_installation() -> None:
    """`profile dump` may be given to `install -f`."""
    asked = spec.given([{}], ["profile=demo", "global.tag=1"])
    assert spec.plan(spec.complete(asked)).components == spec.plan(asked).components


def test_telemetry_and_console_can_be_left_out_of_the_demo() -> None:
    made = plan({"profile": "demo"}, "components.telemetry.enabled=false", "components.console.enabled=false")
    assert [c.name for c in made.components] == ["Base", "Pilot", "IngressGateways", "EgressGateways"]
    assert made.warnings == []


def test_values_of_the_telemetry() -> None:
    k8s = {"resources": {"requests": {"cpu": "1"}}, "env": []}
    document = operator(hub="h.example", components={"telemetry": {"enabled": True, "k8s": k8s}})
    sets = ("telemetry.persistence.enabled=true", "global.imagePullSecrets={s}", "global.proxy.privileged=true")
    made = plan(document, *sets)
    values = release(made, "telemetry")
    assert values["global"]["hub"] == "h.example"
    assert values["telemetry"]["resources"]["requests"]["cpu"] == "1"
    assert values["telemetry"]["persistence"]["enabled"] is True
    assert values["telemetry"]["imagePullSecrets"] == [{"name": "s"}]
    assert made.warnings == ["components.telemetry.k8s.env: has no effect here"]
    assert plan(None, "telemetry.replicaCount=1").warnings == ["values.telemetry: has no effect here"]


def test_spans_go_to_the_telemetry_unless_they_go_elsewhere() -> None:
    def options(*sets: str) -> Any:
        return release(plan(None, *sets), "istiod")["meshConfig"]

    telemetry = "components.telemetry.enabled=true"
    assert "defaultProviders" not in options()
    assert options(telemetry)["defaultProviders"] == {"tracing": ["zipkin"]}
    assert options(telemetry)["extensionProviders"][0]["zipkin"]["port"] == 9411
    own = 'meshConfig.extensionProviders=[{"name": "mine", "zipkin": {"service": "z", "port": 1}}]'
    assert [p["name"] for p in options(telemetry, own)["extensionProviders"]] == ["mine"]
    assert "defaultProviders" not in options(telemetry, own)
