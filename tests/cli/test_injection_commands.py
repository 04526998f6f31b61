"""`x check-inject`, `x injector list` and `tag`: what webhooks' selectors say of namespaces and pods."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from sailcloth.cli import injection, tags
from sailcloth.injector.webhook_config import configuration, tag

Object = dict[str, Any]
OURS = configuration(b"root")
CONFIG = OURS["webhooks"][0]["clientConfig"]


@pytest.mark.parametrize(
    ("namespace", "pod", "injected", "reason"),
    [
        ({"istio-injection": "enabled"}, {}, True, "Namespace label istio-injection=enabled matches"),
        ({"istio.io/rev": "default"}, {}, True, "Namespace label istio.io/rev=default matches"),
        ({}, {"sidecar.istio.io/inject": "true"}, True, "Pod label sidecar.istio.io/inject=true matches"),
        ({}, {"istio.io/rev": "default"}, True, "Pod label istio.io/rev=default matches"),
        ({}, {}, False, "neither the namespace nor the pod has a label for this revision"),
        ({"istio-injection": "disabled"}, {}, False, "namespace label istio-injection=disabled does not match"),
        (
            {"istio-injection": "enabled"},
            {"sidecar.istio.io/inject": "false"},
            False,
            "pod label sidecar.istio.io/inject=false does not match",
        ),
        ({"istio.io/rev": "old"}, {}, False, "namespace label istio.io/rev=old does not match"),
    ],
)
def test_why_a_pod_is_injected(namespace: dict[str, str], pod: dict[str, str], injected: bool, reason: str) -> None:
    assert injection.verdict(OURS, namespace, pod) == {
        "webhook": "istio-sidecar-injector",
        "revision": "default",
        "injected": injected,
        "reason": reason,
    }


def namespace(name: str, **labels: str) -> Object:
    return {"metadata": {"name": name, "labels": {k.replace("_", "-"): v for k, v in labels.items()}}}


def pod(place: str, revision: str) -> Object:
    notes = {"sidecar.istio.io/status": "{}", "istio.io/rev": revision} if revision else {}
    return {"metadata": {"namespace": place, "name": "a", "annotations": notes}}


def test_namespaces_with_the_revisions_of_their_pods() -> None:
    spaces = [namespace("shop", istio_injection="enabled"), namespace("other")]
    pods = [
        pod("shop", "default"),
        pod("shop", "default"),
        pod("shop", "old"),
        pod("shop", ""),
        pod("other", "default"),
    ]
    assert injection.injected_namespaces([OURS], spaces, pods) == [
        {"namespace": "shop", "revision": "default", "pods": {"default": 2, "old": 1}}
    ]


def test_the_webhook_of_a_tag_is_that_of_its_revision_under_another_label() -> None:
    made = tag(CONFIG, "prod", "default")
    assert made["metadata"] == {
        "name": "istio-revision-tag-prod",
        "labels": {"istio.io/rev": "default", "istio.io/tag": "prod", "app": "sidecar-injector"},
    }
    assert [w["name"].partition(".sidecar")[0] for w in made["webhooks"]] == ["rev.namespace", "rev.object"]
    assert {w["clientConfig"]["caBundle"] for w in made["webhooks"]} == {base64.b64encode(b"root").decode()}
    assert injection.verdict(made, {"istio.io/rev": "prod"}, {})["injected"]
    assert not injection.verdict(made, {"istio.io/rev": "default"}, {})["injected"]
    assert not injection.verdict(made, {"istio-injection": "enabled"}, {})["injected"]


def test_the_tag_default_injects_what_has_the_label_of_injection() -> None:
    made = tag(CONFIG, "default", "1-30", "mine")
    assert made["metadata"]["name"] == "mine"
    assert injection.verdict(made, {"istio-injection": "enabled"}, {})["injected"]


def test_a_tag_for_all_namespaces_leaves_those_that_say_something() -> None:
    made = tag(CONFIG, "prod", "default", unnamed=True)
    assert injection.verdict(made, {}, {})["injected"]
    assert not injection.verdict(made, {"istio-injection": "disabled"}, {})["injected"]


def test_tags_with_their_namespaces() -> None:
    hooks = [OURS, tag(CONFIG, "prod", "default"), tag(CONFIG, "canary", "default")]
    spaces = [{"metadata": {"name": n, "labels": {"istio.io/rev": "prod"}}} for n in ("b", "a")]
    assert [(t["tag"], t["revision"], t["namespaces"]) for t in tags.tags_of(hooks, spaces)] == [
        ("canary", "default", []),
        ("prod", "default", ["a", "b"]),
    ]
