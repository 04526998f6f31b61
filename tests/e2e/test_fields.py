"""What single fields of the networking API do, through real Envoys: each test fails if its field is ignored."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from .bookinfo import Cluster
from .lab import Lab, echo, kind

Object = dict[str, Any]
URL = "http://echo/path"


@pytest.fixture(scope="module")
def made(cluster: Cluster) -> Iterator[Lab]:
    yield Lab(cluster, "fields")
    cluster.kubectl("delete", "namespace", "fields")


@pytest.fixture
def lab(made: Lab) -> Iterator[Lab]:
    subsets = [{"name": v, "labels": {"version": v}} for v in ("v1", "v2")]
    made.apply(kind("DestinationRule", "echo", host="echo", subsets=subsets))
    yield made
    made.clear()


def to(version: str, **more: Any) -> Object:
    return {"route": [{"destination": {"host": "echo", "subset": version}}], **more}


def routes(lab: Lab, *http: Object, **spec: Any) -> None:
    lab.apply(kind("VirtualService", "echo", **{"hosts": ["echo"], "http": list(http), **spec}))


@pytest.mark.parametrize(
    ("match", "yes", "no"),
    [
        ({"uri": {"exact": "/path"}}, (URL,), ("http://echo/path/",)),
        ({"uri": {"prefix": "/PA"}, "ignoreUriCase": True}, (URL,), ("http://echo/other",)),
        ({"uri": {"regex": "/p[a-z]+"}}, (URL,), ("http://echo/path/deep",)),
        ({"method": {"exact": "POST"}}, ("-d", "x", URL), (URL,)),
        ({"authority": {"prefix": "echo."}}, ("http://echo.fields/path",), (URL,)),
        ({"headers": {"x-a": {"exact": "1"}}}, ("-H", "x-a: 1", URL), ("-H", "x-a: 2", URL)),
        ({"headers": {"x-a": {}}}, ("-H", "x-a: anything", URL), (URL,)),
        (
            {"headers": {"cookie": {"regex": r"^(.*?;)?\s*(user=jason)(;.*)?$"}}},
            ("-b", "a=b; user=jason", URL),
            ("-b", "user=x", URL),
        ),
        ({"withoutHeaders": {"x-a": {"exact": "1"}}}, (URL,), ("-H", "x-a: 1", URL)),
        ({"queryParams": {"q": {"exact": "1"}}}, (f"{URL}?q=1",), (f"{URL}?q=2",)),
        ({"port": 80}, (URL,), ()),
        ({"sourceLabels": {"team": "blue"}}, (URL,), ()),
        ({"sourceNamespace": "fields"}, (URL,), ()),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_match(lab: Lab, match: Object, yes: tuple[str, ...], no: tuple[str, ...]) -> None:
    routes(lab, to("v2", match=[match]), to("v1"))
    assert lab.ask(*yes).version == "v2"
    if no:
        assert lab.ask(*no).version == "v1"


@pytest.mark.parametrize(
    "match", [{"sourceLabels": {"team": "red"}}, {"sourceNamespace": "other"}, {"port": 81}], ids=str
)
def test_who_is_not_meant_is_not_matched(lab: Lab, match: Object) -> None:
    routes(lab, to("v2", match=[match]), to("v1"))
    assert lab.ask(URL).version == "v1"


def test_rewrites(lab: Lab) -> None:
    regex = {"match": "^/items/([0-9]+)/show", "rewrite": r"/show?id=\1"}
    routes(
        lab,
        to("v1", match=[{"uri": {"prefix": "/old/"}}], rewrite={"uri": "/new/", "authority": "inside.example.com"}),
        to("v1", match=[{"uri": {"prefix": "/items"}}], rewrite={"uriRegexRewrite": regex}),
        to("v1"),
    )
    told = lab.ask("http://echo/old/x?q=1").told
    assert (told["path"], told["host"]) == ("/new/x?q=1", "inside.example.com")
    assert lab.ask("http://echo/items/7/show").told["path"] == "/show?id=7"


def test_redirects(lab: Lab) -> None:
    routes(
        lab,
        {
            "match": [{"uri": {"prefix": "/a"}}],
            "redirect": {"uri": "/b", "authority": "c.example.com", "redirectCode": 307},
        },
        {"match": [{"uri": {"prefix": "/s"}}], "redirect": {"scheme": "https", "port": 8443}},
    )
    answer = lab.ask("http://echo/a/x")
    assert (answer.status, answer.header("location")) == (307, "http://c.example.com/b")
    answer = lab.ask("http://echo/s")
    assert (answer.status, answer.header("location")) == (301, "https://echo:8443/s")


def test_direct_response(lab: Lab) -> None:
    routes(
        lab,
        {
            "directResponse": {"status": 503, "body": {"string": "closed"}},
            "headers": {"response": {"set": {"x-why": "rest"}}},
        },
    )
    answer = lab.ask(URL)
    assert (answer.status, answer.body, answer.header("x-why")) == (503, "closed", "rest")


def test_headers(lab: Lab) -> None:
    operations = {
        "request": {"set": {"x-set": "s"}, "add": {"x-add": "a"}, "remove": ["x-drop"]},
        "response": {"set": {"x-back": "b"}, "remove": ["x-content-type-options"]},
    }
    destination = {
        "destination": {"host": "echo", "subset": "v1"},
        "headers": {"request": {"set": {"x-of": "destination"}}},
    }
    routes(lab, {"route": [destination], "headers": operations})
    answer = lab.ask("-H", "x-drop: 1", "-H", "x-add: 0", "-H", "x-set: 0", URL)
    seen = answer.told["headers"]
    assert (seen["X-Set"], seen["X-Add"], seen["X-Of"]) == (["s"], ["0", "a"], ["destination"])
    assert "X-Drop" not in seen
    assert (answer.header("x-back"), answer.header("x-content-type-options")) == ("b", "")


def test_cors(lab: Lab) -> None:
    policy = {
        "allowOrigins": [{"exact": "https://shop.example.com"}],
        "allowMethods": ["GET", "PUT"],
        "allowHeaders": ["x-token"],
        "maxAge": "60s",
        "allowCredentials": True,
    }
    routes(lab, to("v1", corsPolicy=policy))
    asked = ("-X", "OPTIONS", "-H", "Access-Control-Request-Method: PUT", "-H")
    answer = lab.ask(*asked, "Origin: https://shop.example.com", URL)
    assert answer.status == 200
    assert answer.header("access-control-allow-origin") == "https://shop.example.com"
    assert answer.header("access-control-allow-methods") == "GET,PUT"
    assert answer.header("access-control-max-age") == "60"
    assert answer.header("access-control-allow-credentials") == "true"
    assert lab.ask("-H", "Origin: https://evil.example.com", URL).header("access-control-allow-origin") == ""


def test_retries_until_it_succeeds(lab: Lab) -> None:
    def failing(uuid: str) -> str:
        return f"http://echo/retry/x?uuid={uuid}&succeedAfter=2&responseCode=418"

    routes(lab, to("v1", retries={"attempts": 3, "retryOn": "retriable-status-codes,418", "backoff": "10ms"}))
    assert lab.ask(failing("a")).status == 200
    routes(lab, to("v1", retries={"attempts": 1, "retryOn": "retriable-status-codes,418"}))
    assert lab.ask(failing("b")).status == 418
    routes(lab, to("v1", retries={"attempts": 0}))
    assert lab.ask(failing("c")).status == 418


def test_faults_by_header(lab: Lab) -> None:
    fault = {
        "abort": {"httpStatus": 507, "percentage": {"value": 100}},
        "delay": {"fixedDelay": "0.4s", "percentage": {"value": 100}},
    }
    routes(lab, to("v1", match=[{"headers": {"x-test": {"exact": "1"}}}], fault=fault), to("v1"))
    answer = lab.ask("-H", "x-test: 1", URL)
    assert answer.status == 507
    assert answer.seconds > 0.39
    assert lab.ask(URL).status == 200


def test_a_timeout_ends_a_slow_answer(lab: Lab) -> None:
    routes(lab, to("v1", timeout="0.3s"))
    assert lab.ask(f"{URL}?delay=2s").status == 504
    assert lab.ask(f"{URL}?delay=100ms").status == 200


def test_delegates(lab: Lab) -> None:
    child = kind("VirtualService", "child", http=[to("v2", match=[{"uri": {"prefix": "/api/deep"}}]), to("v1")])
    lab.put(child)
    routes(
        lab,
        {"match": [{"uri": {"prefix": "/api"}}], "delegate": {"name": "child"}},
        {"directResponse": {"status": 404}},
    )
    assert lab.ask("http://echo/api/deep").version == "v2"
    assert lab.ask("http://echo/api").version == "v1"
    assert lab.ask("http://echo/else").status == 404


@pytest.mark.parametrize(
    ("policy", "arguments"),
    [
        ({"httpHeaderName": "x-user"}, ("-H", "x-user: alice")),
        ({"httpQueryParameterName": "user"}, ("-G", "-d", "user=alice")),
        ({"useSourceIp": True}, ()),
        ({"httpHeaderName": "x-user", "maglev": {"tableSize": 101}}, ("-H", "x-user: alice")),
    ],
    ids=["header", "query", "source", "maglev"],
)
def test_consistent_hashing(lab: Lab, policy: Object, arguments: tuple[str, ...]) -> None:
    lab.apply(kind("DestinationRule", "echo", host="echo", trafficPolicy={"loadBalancer": {"consistentHash": policy}}))
    assert len({a.version for a in lab.many(12, *arguments, URL)}) == 1


def test_a_cookie_keeps_a_caller_at_one_pod(lab: Lab) -> None:
    policy = {"httpCookie": {"name": "at", "ttl": "60s", "path": "/"}}
    lab.apply(kind("DestinationRule", "echo", host="echo", trafficPolicy={"loadBalancer": {"consistentHash": policy}}))
    first = lab.ask(URL)
    cookie = first.header("set-cookie").split(";")[0]
    assert cookie.startswith("at=")
    assert {a.version for a in lab.many(12, "-b", cookie, URL)} == {first.version}


def test_round_robin_takes_turns(lab: Lab) -> None:
    lab.apply(kind("DestinationRule", "echo", host="echo", trafficPolicy={"loadBalancer": {"simple": "ROUND_ROBIN"}}))
    took = Counter(a.version for a in lab.many(100, URL))
    assert abs(took["v1"] - took["v2"]) <= 2  # each of Envoy's two workers takes turns for itself


def test_outliers_are_put_out_for_a_while(lab: Lab) -> None:
    rule = {
        "loadBalancer": {"simple": "ROUND_ROBIN"},
        "outlierDetection": {
            "consecutive5xxErrors": 2,
            "interval": "0.2s",
            "baseEjectionTime": "30s",
            "maxEjectionPercent": 50,
        },
    }
    lab.apply(kind("DestinationRule", "echo", host="echo", trafficPolicy=rule))
    routes(lab, {"route": [{"destination": {"host": "echo"}}], "retries": {"attempts": 0}})
    lab.many(8, "http://echo/status/500")
    lab.cluster.eventually(lambda: len({a.version for a in lab.many(8, URL)}) == 1)


def test_a_service_entry_with_workload_entries(lab: Lab) -> None:
    """A host of which one endpoint is a pod and the other an entry, told apart as subsets, with a port by name."""
    labels = {"app": "joined", "version": "v9"}
    entry = kind("WorkloadEntry", "joined", address=lab.ip("version=v1"), labels=labels, ports={"http": 3000})
    service = kind(
        "ServiceEntry",
        "joined",
        hosts=["joined.example.com"],
        location="MESH_INTERNAL",
        resolution="STATIC",
        ports=[{"number": 80, "name": "http", "protocol": "HTTP"}],
        workloadSelector={"labels": {"app": "joined"}},
    )
    subset = kind(
        "DestinationRule", "joined", host="joined.example.com", subsets=[{"name": "nine", "labels": {"version": "v9"}}]
    )
    rule = kind(
        "VirtualService",
        "joined",
        hosts=["joined.example.com"],
        http=[{"route": [{"destination": {"host": "joined.example.com", "subset": "nine"}}]}],
    )
    lab.put(entry)
    lab.apply(service, subset, rule)
    answer = lab.ask("--resolve", "joined.example.com:80:203.0.113.9", "http://joined.example.com/")
    assert answer.version == "v1"


def test_external_name(lab: Lab) -> None:
    """An alias has no address of its own: the name is looked up, and the request goes where the target's rules say."""
    alias = {
        "type": "ExternalName",
        "externalName": "echo.fields.svc.cluster.local",
        "ports": [{"name": "http", "port": 80}],
    }
    lab.put({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "alias"}, "spec": alias})
    lab.cluster.eventually(lambda: lab.ask("http://alias/").status == 200)
    routes(lab, to("v2"))
    assert {a.version for a in lab.many(6, "http://alias/")} == {"v2"}
    lab.kubectl("delete", "service", "alias")


def test_exports_end_where_they_say(lab: Lab) -> None:
    routes(lab, to("v2"), exportTo=["."])
    assert {a.version for a in lab.many(6, URL)} == {"v2"}
    routes(lab, to("v2"), exportTo=["default"])
    lab.cluster.eventually(lambda: {a.version for a in lab.many(10, URL)} == {"v1", "v2"})


def test_only_what_a_sidecar_imports_is_known(lab: Lab) -> None:
    hosts = ["./echo.fields.svc.cluster.local"]
    lab.apply(kind("Sidecar", "default", egress=[{"hosts": hosts}], outboundTrafficPolicy={"mode": "REGISTRY_ONLY"}))
    assert lab.ask(URL).status == 200
    assert lab.ask("http://istio-ingressgateway.istio-system/").status == 502


def test_tls_by_server_name_and_connections_by_port(lab: Lab) -> None:
    """Connections that are not HTTP: a TLS route by SNI without termination, and a TCP route."""
    ports = [{"number": 443, "name": "tls", "protocol": "TLS"}, {"number": 9000, "name": "tcp", "protocol": "TCP"}]
    entry = kind(
        "ServiceEntry",
        "raw",
        hosts=["raw.example.com"],
        addresses=["203.0.113.50"],
        location="MESH_INTERNAL",
        resolution="STATIC",
        ports=ports,
        endpoints=[
            {
                "address": lab.ip("version=v1"),
                "ports": {"tls": 3000, "tcp": 3000},
                "labels": {"security.istio.io/tlsMode": "disabled"},
            }
        ],
    )
    lab.apply(entry)
    assert lab.ask("--resolve", "raw.example.com:9000:203.0.113.50", "http://raw.example.com:9000/").version == "v1"
    moved = kind(
        "VirtualService",
        "raw",
        hosts=["raw.example.com"],
        tcp=[
            {
                "match": [{"port": 9000}],
                "route": [{"destination": {"host": "echo", "subset": "v2", "port": {"number": 80}}}],
            }
        ],
    )
    lab.apply(moved)
    assert lab.ask("--resolve", "raw.example.com:9000:203.0.113.50", "http://raw.example.com:9000/").version == "v2"


def test_near_endpoints_first_and_others_when_they_fail(made: Lab) -> None:
    """Locality of pods by label; the caller's own decides."""
    for version, place in (("near", "eu.west.a"), ("far", "us.east.b")):
        made.put(_placed(version, place))
    patch = {"spec": {"template": {"metadata": {"labels": {"istio-locality": "eu.west.a"}}}}}
    made.kubectl("patch", "deployment", "caller", "--type=merge", "-p", json.dumps(patch))
    made.kubectl("rollout", "status", "deployment/caller", "--timeout=60s")
    made.kubectl("rollout", "status", "deployment/echo-near", "--timeout=60s")
    made.kubectl("rollout", "status", "deployment/echo-far", "--timeout=60s")
    service = {"selector": {"app": "placed"}, "ports": [{"name": "http", "port": 80, "targetPort": 3000}]}
    made.put({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "placed"}, "spec": service})
    outliers = {"consecutive5xxErrors": 1, "interval": "0.2s", "baseEjectionTime": "60s", "maxEjectionPercent": 100}
    balancer = {"localityLbSetting": {"enabled": True, "failover": [{"from": "eu", "to": "us"}]}}
    rule = kind(
        "DestinationRule",
        "placed",
        host="placed",
        trafficPolicy={"loadBalancer": balancer, "outlierDetection": outliers},
    )
    made.apply(rule)
    made.cluster.eventually(lambda: {a.version for a in made.many(6, "http://placed/")} == {"near"})
    made.kubectl("scale", "deployment/echo-near", "--replicas=0")
    made.cluster.eventually(lambda: {a.version for a in made.many(3, "http://placed/")} == {"far"})
    made.clear()
    for name in ("deployment/echo-near", "deployment/echo-far", "service/placed"):
        made.kubectl("delete", name)


def _placed(version: str, place: str) -> Object:
    obj = echo(version)
    labels = {"app": "placed", "version": version, "istio-locality": place}
    obj["spec"]["selector"]["matchLabels"] = labels
    obj["spec"]["template"]["metadata"]["labels"] = labels
    return obj


def test_a_proxy_starts_with_the_options_of_its_proxy_config(made: Lab) -> None:
    obj = kind("ProxyConfig", "caller", concurrency=2, environmentVariables={"SOME_OPTION": "set"})
    made.put({**obj, "apiVersion": "networking.istio.io/v1beta1"})
    made.kubectl("rollout", "restart", "deployment/caller")
    made.kubectl("rollout", "status", "deployment/caller", "--timeout=60s")
    made.cluster.eventually(lambda: len(made.kubectl("get", "pods", "-l", "app=caller", "-o", "name").split()) == 1, 40)
    asked = ("exec", "deploy/caller", "-c", "istio-proxy", "--", "sh", "-c", "echo $SOME_OPTION")
    assert made.kubectl(*asked).strip() == "set"
    told = made.ask("http://127.0.0.1:15000/server_info").told
    assert told["command_line_options"]["concurrency"] == 2
    made.kubectl("delete", "proxyconfig", "caller")
