"""Explanations of requests, from manifests; `tests/e2e/test_explain.py` compares them with real Envoys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from sailcloth.analysis.explain import Explainer, Explanation, Question, Unknown
from sailcloth.cli import describe
from sailcloth.cli.main import app

SAMPLES = Path(__file__).parents[2] / "samples" / "bookinfo"
NETWORKING = SAMPLES / "networking"
FILES = [
    SAMPLES / "platform" / "kube" / "bookinfo.yaml",
    *(NETWORKING / f"{name}.yaml" for name in ("destination-rule-all", "virtual-service-reviews-test-v2")),
    SAMPLES / "trouble" / "two-faults.yaml",
]
REVIEWS = "http://reviews:9080/reviews/0"
MORE = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: details, namespace: default}
spec:
  selector: {matchLabels: {app: details}}
  action: ALLOW
  rules:
  - from: [{source: {principals: [cluster.local/ns/default/sa/bookinfo-productpage]}}]
    to: [{operation: {methods: [GET]}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ratings, namespace: default}
spec:
  hosts: [ratings]
  http:
  - match: [{uri: {exact: /old}}]
    redirect: {uri: /new}
  - match: [{uri: {prefix: /v2}}]
    rewrite: {uri: /ratings}
    timeout: 2s
    retries: {attempts: 3, retryOn: 5xx}
    mirror: {host: reviews}
    mirrorPercentage: {value: 10}
    route:
    - {destination: {host: ratings, subset: v1}, weight: 80}
    - {destination: {host: ratings}, weight: 20}
  - match: [{uri: {prefix: /closed}}]
    fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
    route: [{destination: {host: ratings}}]
"""


@pytest.fixture(scope="module")
def explainer(tmp_path_factory: pytest.TempPathFactory) -> Explainer:
    more = tmp_path_factory.mktemp("more") / "more.yaml"
    more.write_text(MORE)
    files = [f for f in FILES if f.stem != "two-faults"]
    return Explainer(describe.from_files(True, [*files, more], None))


def ask(explainer: Explainer, url: str, **more: Any) -> Explanation:
    return explainer.explain(msgspec.convert({"source": "default/productpage-v1", "url": url, **more}, Question))


def test_a_header_decides_and_the_other_rule_says_why_not(explainer: Explainer) -> None:
    jason = ask(explainer, REVIEWS, headers={"end-user": "jason"})
    assert [(d.subset, d.share, d.rule) for d in jason.destinations] == [
        ("v2", 100.0, "DestinationRule default/reviews")
    ]
    assert (jason.object, jason.skipped) == ("VirtualService default/reviews", [])
    other = ask(explainer, REVIEWS)
    assert [d.subset for d in other.destinations] == ["v1"]
    assert [s.reason for s in other.skipped] == ["header end-user must be jason, and is missing"]
    assert other.outcome == "It goes to reviews.default.svc.cluster.local v1."


def test_what_happens_on_the_way(explainer: Explainer) -> None:
    found = ask(explainer, "http://ratings:9080/v2/0?a=1")
    assert (found.rewritten, found.timeout, found.retries) == ("/ratings/0?a=1", "2s", "3 on 5xx")
    assert found.mirrors == ["outbound|9080||reviews.default.svc.cluster.local (10 %)"]
    assert [(d.subset, d.share) for d in found.destinations] == [("v1", 80.0), ("", 20.0)]
    assert found.outcome.startswith("It goes to ratings.default.svc.cluster.local v1 (80 %), ratings")


@pytest.mark.parametrize(
    ("path", "status", "outcome"),
    [
        ("/old?q=1", 301, "The client is sent to http://ratings:9080/new?q=1 (301)."),
        ("/closed", 418, "A fault answers all of them with 418."),
        ("/nothing", 404, "It goes nowhere: no route matched."),
    ],
)
def test_answers_of_the_proxy_itself(explainer: Explainer, path: str, status: int, outcome: str) -> None:
    found = ask(explainer, f"http://ratings:9080{path}")
    assert (found.status, found.outcome) == (status, outcome)


def test_the_destination_decides(explainer: Explainer) -> None:
    url = "http://details:9080/details/0"
    assert ask(explainer, url).destinations[0].allowed["default/details-v1"].decision == "allow"
    refused = ask(explainer, url, method="POST")
    assert (refused.status, refused.destinations[0].allowed["default/details-v1"].policy) == (403, None)
    assert "default/details rule 0 by to" in refused.outcome
    other = explainer.explain(Question(source="default/reviews-v1", url=url))
    assert "by from" in other.outcome


@pytest.mark.parametrize(
    ("url", "cluster"),
    [("http://nowhere.example.com/", "PassthroughCluster"), ("https://example.com", "PassthroughCluster")],
)
def test_hosts_outside_of_the_mesh(explainer: Explainer, url: str, cluster: str) -> None:
    (destination,) = ask(explainer, url).destinations
    assert destination.cluster == cluster
    assert "no service has this address" in destination.problem


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ({"url": "ftp://reviews"}, "is no URL"),
        ({"url": "http://"}, "is no URL"),
        ({"url": "http://reviews:99999/"}, "no valid port"),
        (
            {"url": REVIEWS, "source": "default/nobody"},
            "there is no pod or workload default/nobody; there are details-v1",
        ),
        ({"url": REVIEWS, "source": "productpage"}, "write NAMESPACE/NAME"),
        ({"url": REVIEWS}, "there is no gateway"),
    ],
)
def test_what_names_nothing_is_said(explainer: Explainer, question: dict[str, Any], text: str) -> None:
    with pytest.raises(Unknown, match=text):
        explainer.explain(msgspec.convert(question, Question))


def test_the_command() -> None:
    options = [o for f in FILES for o in ("-f", str(f))]
    command = ["x", "explain", "--offline", *options, "--from", "productpage-v1", "--to"]
    done = CliRunner().invoke(app(), [*command, "http://details:9080/details/0"])
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[0] == "It goes to details.default.svc.cluster.local v1."
    assert "   Faults: 50 % are answered with 500" in done.output.splitlines()
    shaped = CliRunner().invoke(app(), [*command, REVIEWS, "-o", "json"])
    assert json.loads(shaped.output)["destinations"][0]["subset"] == "v1"
    lines = '{"url": "http://details:9080/", "source": "default/productpage-v1"}\n{"url": "x://"}\n'
    many = CliRunner().invoke(app(), ["x", "explain", "--offline", *options, "--requests", "-"], input=lines)
    first, second = map(json.loads, many.output.splitlines())
    assert (first["object"], "no URL" in second["error"]) == ("VirtualService default/details", True)
    assert CliRunner().invoke(app(), [*command, REVIEWS, "-o", "xml"]).exit_code == 64
    assert CliRunner().invoke(app(), command[:-1]).exit_code == 64
