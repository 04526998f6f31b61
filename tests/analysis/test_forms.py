"""Forms of wizards: what is read is what is written, and what a form cannot say is refused by its field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sailcloth.analysis.forms import effects, object_forms, traffic_rules
from sailcloth.analysis.forms.object_forms import FORMS, BadValue
from sailcloth.analysis.forms.paths import CannotSay
from sailcloth.analysis.forms.traffic_rules import Condition, HttpRule, Policy, Subset, Target, TcpRule, TrafficRules
from sailcloth.api import validation

Object = dict[str, Any]
SAMPLES = Path(__file__).parents[3] / "shared" / "cases" / "samples"


def virtual_service(**spec: Any) -> Object:
    metadata = {"name": "rules", "namespace": "default", "generation": 7}
    return {"apiVersion": "networking.istio.io/v1beta1", "kind": "VirtualService", "metadata": metadata, "spec": spec}


def destination_rule(**spec: Any) -> Object:
    metadata = {"name": "subsets", "namespace": "default"}
    return {"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": metadata, "spec": spec}


def test_objects_that_exist_keep_their_metadata_and_version() -> None:
    routes = virtual_service(
        hosts=["reviews"], http=[{"route": [{"destination": {"host": "reviews", "subset": "v1"}}]}]
    )
    rule = destination_rule(
        host="reviews.default.svc.cluster.local", subsets=[{"name": "v1", "labels": {"version": "v1"}}]
    )
    form = traffic_rules.read(routes, rule, "reviews")
    assert form.http[0].targets == [Target(host="reviews", subset="v1")]
    written, gone = traffic_rules.write(form, routes, rule, "default", "reviews")
    assert (written, gone) == ([rule, routes], [])


def test_a_new_service_gets_rules_of_its_own_name() -> None:
    half = [Target(host="reviews", subset=v, weight=50) for v in ("v1", "v2")]
    form = TrafficRules(
        hosts=["reviews"],
        http=[HttpRule(targets=half, timeout="2s", abort_status=503, abort_percent=10)],
        subsets=[Subset(name=v, labels={"version": v}) for v in ("v1", "v2")],
        policy=Policy(consecutive_errors=5, base_ejection_time="30s"),
    )
    (rule, routes), gone = traffic_rules.write(form, None, None, "shop", "reviews")
    assert gone == []
    assert rule["metadata"] == {"name": "reviews", "namespace": "shop"}
    assert rule["spec"]["host"] == "reviews"
    assert rule["spec"]["trafficPolicy"] == {"outlierDetection": {"consecutive5xxErrors": 5, "baseEjectionTime": "30s"}}
    assert routes["spec"]["http"][0]["fault"] == {"abort": {"httpStatus": 503, "percentage": {"value": 10}}}
    assert [r["weight"] for r in routes["spec"]["http"][0]["route"]] == [50, 50]
    assert not [f for obj in (rule, routes) for f in validation.check(obj) if f.severity == "Error"]


def test_rules_that_are_taken_away_delete_their_object() -> None:
    routes = virtual_service(hosts=["reviews"], http=[{"route": [{"destination": {"host": "reviews"}}]}])
    rule = destination_rule(host="reviews")
    written, gone = traffic_rules.write(TrafficRules(hosts=["reviews"]), routes, rule, "default", "reviews")
    assert (written, gone) == ([], [rule, routes])


def test_older_spellings_are_understood() -> None:
    routes = virtual_service(
        hosts=["reviews"],
        http=[
            {
                "fault": {"delay": {"fixedDelay": "7s", "percent": 40}},
                "mirror": {"host": "reviews", "subset": "v2"},
                "mirrorPercent": 30,
                "route": [{"destination": {"host": "reviews"}, "weight": 100}],
            }
        ],
    )
    (rule,) = traffic_rules.read(routes, None, "reviews").http
    assert (rule.delay, rule.delay_percent) == ("7s", 40)
    assert (rule.mirror, rule.mirror_percent) == (Target(host="reviews", subset="v2"), 30)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"hosts": ["a"], "http": [{"redirect": {"uri": "/"}}]}, "http[0].redirect"),
        ({"hosts": ["a"], "http": [{"headers": {"request": {}}}]}, "http[0].headers"),
        ({"hosts": ["a"], "http": [{"match": [{"port": 80}]}]}, "http[0].match[0].port"),
        ({"hosts": ["a"], "exportTo": ["."]}, "exportTo"),
        ({"hosts": ["a"], "tls": [{}]}, "tls"),
    ],
)
def test_what_the_form_has_no_place_for_is_named(spec: Object, field: str) -> None:
    with pytest.raises(CannotSay, match=field.replace("[", r"\[").replace("]", r"\]")):
        traffic_rules.read(virtual_service(**spec), None, "a")


@pytest.mark.parametrize("spec", [{"hosts": "a"}, {"hosts": ["a"], "http": [{"timeout": 5}]}, {"hosts": [1]}])
def test_values_of_other_types_are_refused(spec: Object) -> None:
    with pytest.raises(CannotSay):
        traffic_rules.read(virtual_service(**spec), None, "a")


words = st.text("abcxyz", min_size=1, max_size=5)
shares = st.integers(0, 100).map(float)
targets = st.builds(Target, host=words, subset=st.sampled_from(["", "v1", "v2"]), port=st.sampled_from([0, 80]))
weighted = st.builds(Target, host=words, subset=words, weight=st.integers(1, 100))
plain = st.builds(
    Condition, part=st.sampled_from(["uri", "method"]), operator=st.sampled_from(["exact", "prefix"]), value=words
)
named = st.builds(
    Condition, part=st.just("header"), operator=st.sampled_from(["exact", "regex"]), name=words, value=words
) | st.builds(Condition, part=st.just("header"), operator=st.sampled_from(["present", "absent"]), name=words)
conditions = st.lists(plain, min_size=1, max_size=2, unique_by=lambda c: c.part) | st.lists(
    named, min_size=1, max_size=2, unique_by=lambda c: c.name
)
optional = st.none() | st.sampled_from(["1s", "2.5s"])
http_rules = st.builds(
    HttpRule,
    name=st.none() | words,
    matches=st.lists(conditions, max_size=2),
    targets=st.lists(targets, min_size=1, max_size=1) | st.lists(weighted, min_size=2, max_size=3),
    timeout=optional,
    attempts=st.none() | st.integers(0, 5),
    per_try_timeout=optional,
    delay=optional,
    abort_status=st.none() | st.integers(200, 599),
    mirror=st.none() | targets,
)
forms = st.builds(
    TrafficRules,
    hosts=st.lists(words, min_size=1, max_size=2),
    gateways=st.lists(words, max_size=2),
    http=st.lists(http_rules, min_size=1, max_size=3),
    tcp=st.lists(
        st.builds(TcpRule, port=st.sampled_from([0, 9000]), targets=st.lists(targets, min_size=1, max_size=1)),
        max_size=1,
    ),
    policy=st.builds(
        Policy, load_balancer=st.sampled_from([None, "RANDOM"]), max_connections=st.none() | st.integers(1, 9)
    ),
    subsets=st.lists(st.builds(Subset, name=words, labels=st.dictionaries(words, words, max_size=2)), max_size=2),
)


@given(forms)
def test_a_form_survives_its_objects(form: TrafficRules) -> None:
    written, _ = traffic_rules.write(form, None, None, "default", form.hosts[0])
    by_kind = {obj["kind"]: obj for obj in written}
    back = traffic_rules.read(by_kind["VirtualService"], by_kind.get("DestinationRule"), form.hosts[0])
    again, _ = traffic_rules.write(back, None, None, "default", form.hosts[0])
    assert again == written
    assert effects.sentences(back)


def test_effects_are_said_in_order() -> None:
    jason = [[Condition(part="header", name="end-user", value="jason")]]
    both = [Target(host="reviews", subset="v1", weight=90), Target(host="reviews", subset="v3", weight=10)]
    form = TrafficRules(
        hosts=["reviews"],
        http=[
            HttpRule(matches=jason, targets=[Target(host="reviews", subset="v2")], delay="7s"),
            HttpRule(targets=both, timeout="0.5s", attempts=0),
        ],
        policy=Policy(hash_cookie="user", max_connections=1, consecutive_errors=1),
    )
    assert effects.sentences(form) == [
        "Requests where header end-user is jason go to reviews v2.",
        "  100 % of them wait 7s first.",
        "All requests go to reviews v1 (90 %), reviews v3 (10 %).",
        "  They are answered with 504 after 0.5s.",
        "  They are not tried again.",
        "Requests with the same user go to the same pod.",
        "Each caller's proxy allows at most 1 connections; more are answered with 503.",
        "A pod with 1 errors in a row gets no requests for 30s.",
    ]
    assert "404" in effects.sentences(TrafficRules(hosts=["reviews"], http=form.http[:1]))[-1]


@pytest.mark.parametrize("name", FORMS)
def test_defaults_of_a_form_with_its_required_values_are_valid(name: str) -> None:
    examples: Object = {"text": "a.example.com", "list": ["a.example.com"], "number": 1, "labels": {"app": "a"}}
    values = {
        f.name: f.default if f.default is not None else examples[f.type] for f in FORMS[name].fields if f.required
    }
    obj: Object = {
        "apiVersion": {"PeerAuthentication": "security.istio.io/v1", "RateLimit": "sailcloth.io/v1alpha1"}.get(
            FORMS[name].kind, "networking.istio.io/v1"
        ),
        "kind": FORMS[name].kind,
        "metadata": {"name": "a", "namespace": "default"},
        "spec": object_forms.write(name, values),
    }
    if FORMS[name].kind in ("AuthorizationPolicy", "RequestAuthentication"):
        obj["apiVersion"] = "security.istio.io/v1"
    assert [str(f) for f in validation.check(obj) if f.severity == "Error"] == []
    assert object_forms.read(obj) == (name, values)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"mode": "LAX"}, "Mode: 'LAX' is not one of"),
        ({"mode": 1}, "Mode: 1 is not a choice"),
        ({}, "Mode: give a value"),
        ({"mode": "STRICT", "extra": 1}, "extra: Mutual TLS has no such field"),
        ({"mode": "STRICT", "workload": ["a"]}, "is not a labels"),
    ],
)
def test_a_bad_value_is_named(values: Object, text: str) -> None:
    with pytest.raises(BadValue, match=text):
        object_forms.write("mutual-tls", values)


def test_an_object_that_says_more_is_refused() -> None:
    spec = {"mtls": {"mode": "STRICT"}, "portLevelMtls": {"80": {"mode": "DISABLE"}}}
    with pytest.raises(CannotSay, match="portLevelMtls"):
        object_forms.read({"kind": "PeerAuthentication", "metadata": {"name": "a"}, "spec": spec})
    assert object_forms.read({"kind": "EnvoyFilter", "metadata": {"name": "a"}, "spec": {}}) is None


def test_published_rules_can_be_edited_as_forms() -> None:
    if not SAMPLES.is_dir():
        pytest.skip("the shared cases are not here")
    said, refused = 0, []
    for path in sorted(SAMPLES.rglob("*.yaml")):
        try:
            documents = list(yaml.safe_load_all(path.read_text()))
        except yaml.YAMLError:  # a template
            continue
        for obj in documents:
            if not isinstance(obj, dict) or obj.get("kind") not in ("VirtualService", "DestinationRule"):
                continue
            pair = (obj, None) if obj["kind"] == "VirtualService" else (None, obj)
            try:
                traffic_rules.read(*pair, "a")
                said += 1
            except CannotSay as error:
                refused.append(str(error))
    assert said >= 35
    assert all("match[0].port" in text or "portLevelSettings" in text for text in refused)
