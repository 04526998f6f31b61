"""Changes through the console: checked with lines, tried as a dry run, written with the user's own token, undone."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any

import orjson
import pytest
import pytest_asyncio
import yaml
from aiohttp.test_utils import TestClient, TestServer

from sailcloth.api.meta import Finding, Key
from sailcloth.console import edit, findings, rule_use
from sailcloth.console.access import Access
from sailcloth.console.server import Console
from sailcloth.kube import ApiError

from .cluster import LISTS, PEER_AUTHENTICATION, VIRTUAL_SERVICE
from .test_server import ApiServer, FakeMetrics, FakePlane, FakeTracing, bearer

Object = dict[str, Any]
Web = TestClient[Any, Any]
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
CART = copy.deepcopy(VIRTUAL_SERVICE)
CART["metadata"] |= {"generation": 7, "resourceVersion": "70"}
CART["spec"]["http"][0]["fault"] = {"abort": {"httpStatus": 500, "percentage": {"value": 50}}}


class Writes:
    """A client of the API server with a user's token: keeps what it is sent; refuses what it is told to."""

    def __init__(self) -> None:
        self.token, self.sent, self.refused = "", [], {}  # type: ignore[var-annotated]
        self.generation = 7
        self.annotations: list[Object | None] = []

    def __call__(self, token: str) -> Writes:
        self.token = token
        return self

    async def __aenter__(self) -> Writes:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, e: BaseException | None, t: TracebackType | None
    ) -> None:
        return None

    async def call(self, method: str, path: str, body: Any = None, **query: Any) -> bytes:
        if method == "GET":
            metadata = {"generation": self.generation, "resourceVersion": "71", "annotations": {APPLIED: "{}"}}
            return orjson.dumps({"metadata": metadata})
        self.annotations.append(body["metadata"].get("annotations"))
        dry = bool(query.get("dryRun"))
        error = self.refused.get((method, dry))
        if error is not None:
            raise error
        self.sent.append((method, path, dry))
        return orjson.dumps({**body, "metadata": {**body["metadata"], "generation": 8}})

    async def delete(self, resource: Any, name: str, namespace: str = "") -> None:
        self.sent.append(("DELETE", resource.path(namespace, name), False))


class Config:
    version = 1
    problems: tuple[str, ...] = ()

    def lists(self) -> dict[str, list[Object]]:
        return LISTS

    async def options(self) -> str:
        return "trustDomain: cluster.local\n"

    recent_options = options

    def config(self) -> list[Object]:
        return [CART, PEER_AUTHENTICATION]


class Logs:
    """Requests that `web` received: of the ingress gateway by mutual TLS, and of somebody without a sidecar."""

    async def sent(self, since: str = "1h") -> list[Object]:
        out = {"direction": "out", "source": "shop/web-v1-abc-1", "upstream_cluster": "PassthroughCluster"}
        named = {**out, "authority": "api.example.com", "destination": "203.0.113.9:80"}
        return [
            named,
            named,
            {**out, "destination": "203.0.113.7:5432"},
            {**named, "source": "bank/ledger"},
            {**named, "upstream_cluster": "x"},
        ]

    async def received(self, namespace: str, workload: str) -> list[Object]:
        seen = {"direction": "in", "upstream_cluster": "inbound|8080||", "method": "GET", "path": "/users/4711?x=1"}
        of_gateway = {**seen, "source": "istio-system/ingress-abc-1", "tls": True}
        plain = {**seen, "source": "10.0.0.9", "tls": False}
        refused = {**plain, "details": "rbac_access_denied_matched_policy[none]"}
        return [of_gateway] * 3 + [plain, refused, {**of_gateway, "direction": "out"}]


class Lab:
    def __init__(self) -> None:
        self.api, self.writes = ApiServer(), Writes()
        access = Access(self.api, "local-secret")  # type: ignore[arg-type]
        parts: Any = (Config(), FakeMetrics(), FakeTracing(), FakePlane(), access, None)
        self.logs = Logs()
        self.editable, self.viewed = Console(*parts, act_as=self.writes, logs=self.logs), Console(*parts)


@pytest.fixture
def lab() -> Lab:
    return Lab()


@pytest_asyncio.fixture
async def web(lab: Lab) -> AsyncIterator[Web]:
    async with TestClient(TestServer(lab.editable.application())) as client:
        yield client


async def post(web: Web, path: str, body: Any, token: str = "admin-token") -> tuple[int, Any]:
    async with web.post(path, json=body, headers=bearer(token)) as answer:
        return answer.status, await answer.json()


async def get(web: Web, path: str, token: str = "admin-token") -> tuple[int, Any]:
    async with web.get(path, headers=bearer(token)) as answer:
        return answer.status, await answer.json()


async def test_an_object_says_where_it_is_applied_and_what_it_names(web: Web, lab: Lab) -> None:
    lab.api.rights.add(("admin", "shop"))
    status, shown = await get(web, "/api/config/object?kind=VirtualService&namespace=shop&name=cart")
    assert status == 200
    assert yaml.safe_load(shown["yaml"])["spec"] == CART["spec"]
    assert "status" not in yaml.safe_load(shown["yaml"])
    assert [(c["type"], c["status"]) for c in shown["conditions"]] == [("Accepted", "True"), ("Programmed", "True")]
    assert shown["delivery"]["answers"] == [{"proxy": "web-v1-abc-1.shop", "ms": 3.5, "error": ""}]
    names = {(r["kind"], r["name"], r["exists"]) for r in shown["references"]}
    assert names == {("Service", "cart", True), ("DestinationRule", "cart", False)}
    assert shown["form"] == "traffic"
    assert (shown["mayUpdate"], shown["mayDelete"]) == (True, True)


async def test_a_wrong_field_is_found_at_its_line(web: Web) -> None:
    text = edit.to_yaml([CART]).replace("timeout: 1s", "timeout: soon").replace("subset: v1", "sub: v1")
    status, markers = await post(web, "/api/config/check", {"yaml": text})
    assert status == 200
    lines = text.splitlines()
    found = {(lines[m["line"] - 1].strip(), m["severity"]) for m in markers}
    assert ("timeout: soon", "Error") in found
    assert any(line.startswith("sub: v1") for line, _ in found)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a: b: c", 1, "not YAML"),
        ("- a", 1, "must be an object"),
        ("kind: Pod\napiVersion: v1", 1, "no kind of the mesh"),
        ("apiVersion: v1\nkind: Gateway\nmetadata: {name: a}", 1, "use networking.istio.io/v1"),
        ("apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata:\n  name: a", 3, "Give a namespace"),
        ("apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: a", 3, "Give a name"),
        ("a: &a [*a]", 1, "not YAML"),
        ("apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata:\n  name: ../x\n  namespace: a", 4, "is no name"),
    ],
)
def test_documents_that_are_no_objects_of_the_mesh(text: str, line: int, said: str) -> None:
    _, (marker, *_) = edit.check(text)
    assert (marker.line, marker.severity) == (line, "Error")
    assert said in marker.text


async def test_a_change_is_tried_and_then_written_as_the_user(web: Web, lab: Lab) -> None:
    changed = copy.deepcopy(CART)
    changed["spec"]["http"][0]["timeout"] = "2s"
    status, applied = await post(web, "/api/config/apply", {"yaml": edit.to_yaml([changed])})
    assert (status, applied["done"]) == (200, ["VirtualService shop/cart replaced"])
    assert lab.writes.token == "admin-token"
    path = "/apis/networking.istio.io/v1/namespaces/shop/virtualservices/cart"
    assert lab.writes.sent == [("PUT", path, True), ("PUT", path, False)]
    assert lab.writes.annotations == [{APPLIED: "{}"}] * 2  # `kubectl apply` compares with it
    undo = yaml.safe_load(applied["undo"]["yaml"])
    assert (undo["spec"], undo["metadata"]["generation"]) == (CART["spec"], 8)


async def test_what_stops_half_way_says_so_and_can_be_undone(web: Web, lab: Lab) -> None:
    lab.writes.refused[("POST", False)] = ApiError(500, "InternalError", "disk full")
    rule = {"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "spec": {"host": "cart"}}
    text = edit.to_yaml([CART, {**rule, "metadata": {"name": "cart", "namespace": "shop"}}])
    _, applied = await post(web, "/api/config/apply", {"yaml": text})
    assert applied["done"] == ["VirtualService shop/cart replaced"]
    assert applied["stopped"] == "The rest was not changed: disk full"
    assert (len(list(yaml.safe_load_all(applied["undo"]["yaml"]))), applied["undo"]["delete"]) == (1, [])


async def test_a_dry_run_changes_nothing(web: Web, lab: Lab) -> None:
    body = {"yaml": edit.to_yaml([CART]), "dryRun": True}
    _, applied = await post(web, "/api/config/apply", body)
    assert applied["done"] == ["VirtualService shop/cart would be replaced"]
    assert [dry for *_, dry in lab.writes.sent] == [True]


async def test_what_the_api_server_refuses_stands_at_its_field(web: Web, lab: Lab) -> None:
    body = {"details": {"causes": [{"field": "spec.http[0].timeout", "message": "too long"}]}}
    lab.writes.refused[("PUT", True)] = ApiError(422, "Invalid", "no", body)
    text = edit.to_yaml([CART])
    _, applied = await post(web, "/api/config/apply", {"yaml": text})
    (marker,) = applied["markers"]
    assert (applied["done"], text.splitlines()[marker["line"] - 1].strip(), marker["text"]) == (
        [],
        "timeout: 1s",
        "too long",
    )
    assert lab.writes.sent == []


async def test_another_generation_is_not_overwritten(web: Web, lab: Lab) -> None:
    lab.writes.generation = 9
    _, applied = await post(web, "/api/config/apply", {"yaml": edit.to_yaml([CART])})
    assert (applied["done"], lab.writes.sent) == ([], [])
    assert "generation 9 now" in applied["markers"][0]["text"]
    assert "reload" in applied["markers"][0]["fix"]


async def test_a_viewer_cannot_write(web: Web, lab: Lab) -> None:
    lab.writes.refused[("PUT", True)] = ApiError(403, "Forbidden", "shopkeeper may not update")
    _, applied = await post(web, "/api/config/apply", {"yaml": edit.to_yaml([CART])}, "shop-token")
    assert applied["done"] == []
    assert applied["markers"][0]["fix"] == "Your account may not do this."
    _, shown = await get(web, "/api/config/object?kind=VirtualService&namespace=shop&name=cart", "shop-token")
    assert (shown["mayUpdate"], shown["mayDelete"]) == (False, False)


async def test_other_namespaces_do_not_exist(web: Web) -> None:
    for path in (
        "config/object?kind=VirtualService&namespace=bank&name=x",
        "forms/traffic?namespace=bank&service=ledger",
    ):
        status, problem = await get(web, f"/api/{path}", "shop-token")
        assert (status, "you may not read" in problem["error"]) == (404, True)


async def test_a_console_for_viewing_changes_nothing(lab: Lab) -> None:
    async with TestClient(TestServer(lab.viewed.application())) as web:
        status, problem = await post(web, "/api/config/apply", {"yaml": edit.to_yaml([CART])})
        assert (status, problem["error"]) == (403, "this console is for viewing only")
        _, session = await get(web, "/api/session")
        assert session["readOnly"] is True


async def test_a_page_of_another_site_cannot_write(web: Web, lab: Lab) -> None:
    await web.get("/?token=admin-token", allow_redirects=False)
    async with web.post(
        "/api/config/apply", json={"yaml": edit.to_yaml([CART])}, headers={"Sec-Fetch-Site": "cross-site"}
    ) as answer:
        assert answer.status == 401
    assert lab.writes.sent == []


async def test_a_wizard_edits_what_it_did_not_write(web: Web) -> None:
    _, form = await get(web, "/api/forms/traffic?namespace=shop&service=cart")
    assert form["problem"] == ""
    assert form["objects"] == [{"kind": "VirtualService", "namespace": "shop", "name": "cart"}]
    rules = form["rules"]
    assert rules["http"][0]["abortStatus"] == 500
    rules["http"][0] |= {"abortStatus": None, "abortPercent": None}
    status, proposal = await post(web, "/api/forms/traffic", {"namespace": "shop", "service": "cart", "rules": rules})
    assert status == 200
    written = yaml.safe_load(proposal["change"]["yaml"])
    assert "fault" not in written["spec"]["http"][0]
    assert written["metadata"]["generation"] == 7
    assert proposal["effects"][0] == "All requests go to cart v1."


async def test_a_form_of_an_object_is_written_back(web: Web) -> None:
    _, form = await get(web, "/api/forms/object?kind=PeerAuthentication&namespace=shop&name=default")
    assert (form["form"]["name"], form["values"]) == ("mutual-tls", {"mode": "STRICT"})
    body = {"form": "mutual-tls", "namespace": "shop", "name": "default", "values": {"mode": "PERMISSIVE"}}
    _, proposal = await post(web, "/api/forms/object", body)
    assert yaml.safe_load(proposal["change"]["yaml"])["spec"] == {"mtls": {"mode": "PERMISSIVE"}}
    assert yaml.safe_load(proposal["before"])["spec"] == {"mtls": {"mode": "STRICT"}}
    status, problem = await post(web, "/api/forms/object", {**body, "values": {"mode": "LAX"}})
    assert (status, "is not one of" in problem["error"]) == (400, True)


@pytest.mark.parametrize(
    "body",
    [
        {"delete": [{"kind": "Gateway", "namespace": "a", "name": "../secrets/x"}]},
        {"yaml": 1},
        {"x": 1},
        [],
        {"yaml": ""},
    ],
)
async def test_a_bad_body_is_named(web: Web, body: Any) -> None:
    status, problem = await post(web, "/api/config/apply", body)
    assert status == 400
    assert problem["error"]


async def test_the_schema_of_a_kind_is_there_for_completion(web: Web) -> None:
    _, schema = await get(web, "/api/config/schema?kind=VirtualService")
    assert "http" in schema["properties"]["spec"]["properties"]
    assert (await get(web, "/api/config/schema?kind=Pod"))[0] == 404


async def test_a_policy_by_what_was_seen_says_what_it_would_have_refused(web: Web, lab: Lab) -> None:
    lab.api.rights.add(("admin", "shop"))
    body = {"namespace": "shop", "workload": "web-v1", "name": "web"}
    status, proposal = await post(web, "/api/forms/observed", body)
    assert status == 200
    (rule,) = yaml.safe_load(proposal["change"]["yaml"])["spec"]["rules"]
    assert rule["from"] == [{"source": {"principals": ["cluster.local/ns/istio-system/sa/default"]}}]
    assert rule["to"] == [{"operation": {"ports": ["8080"], "methods": ["GET"], "paths": ["/users/{*}"]}}]
    assert (proposal["observed"], len(proposal["refused"])) == (4, 1)
    (refused,) = proposal["refused"]
    assert (refused["source"], refused["path"], refused["count"]) == ("10.0.0.9", "/users/4711", 1)
    assert "mutual TLS only" in refused["reason"]


async def test_who_may_not_read_logs_gets_no_policy_by_them(web: Web) -> None:
    status, problem = await post(
        web, "/api/forms/observed", {"namespace": "shop", "workload": "web-v1", "name": ""}, "shop-token"
    )
    assert (status, problem["error"]) == (403, "you may not read the logs of shop")


async def test_requests_that_no_service_has_are_told_by_where_they_went(web: Web, lab: Lab) -> None:
    lab.api.rights.add(("admin", "shop"))
    _, found = await get(web, "/api/unresolved")
    assert [(u["host"], u["address"], u["port"], u["count"]) for u in found] == [
        ("api.example.com", "203.0.113.9", 80, 2),
        ("", "203.0.113.7", 5432, 1),
    ]
    for one in found:
        body = {"form": "service-entry", "namespace": "shop", "name": "outside", "values": one["values"]}
        status, proposal = await post(web, "/api/forms/object", body)
        assert (status, [m for m in proposal["markers"] if m["severity"] == "Error"]) == (200, [])
    assert (await get(web, "/api/unresolved", "shop-token"))[1] == []


async def test_findings_of_the_analysis_stand_at_their_lines_and_in_the_list(web: Web) -> None:
    _, shown = await get(web, "/api/config/object?kind=VirtualService&namespace=shop&name=cart")
    lines = shown["yaml"].splitlines()
    found = {(m["code"], lines[m["line"] - 1].strip()) for m in shown["markers"]}
    assert ("IST0101", "subset: v1") in found
    _, listed = await get(web, "/api/config")
    assert next(row["errors"] for row in listed if row["name"] == "cart") == 1


def test_findings_that_name_hidden_namespaces_are_left_out() -> None:
    key = Key("VirtualService", "shop", "cart")
    finding = Finding(
        code="IST0101", severity="Error", resource=key, path="", text='Referenced host not found: "x.bank"'
    )
    assert findings.visible({key: [finding]}, {"bank"}) == {key: []}
    assert findings.visible({key: [finding]}, {"ban"}) == {key: [finding]}
    assert findings.visible({key: [finding]}, ()) == {key: [finding]}


def test_routes_that_got_requests() -> None:
    def row(host: str, subset: str, route: str, source: str = "shop/web-1") -> Object:
        return {"source": source, "upstream_cluster": f"outbound|80|{subset}|{host}", "route": route}

    cart = "cart.shop.svc.cluster.local"
    routes = [
        {"name": "canary", "route": [{"destination": {"host": "cart", "subset": "v2"}}]},
        {"name": "moved", "redirect": {"uri": "/"}},
        {"match": [{"uri": {"exact": "/a"}}], "route": [{"destination": {"host": cart, "subset": "v1"}}]},
        {"route": [{"destination": {"host": "cart", "subset": "v1"}}]},
        {"route": [{"destination": {"host": "api.example.com"}}]},
        {"directResponse": {"status": 404}},
    ]
    rule = {"metadata": {"namespace": "shop", "name": "cart"}, "spec": {"http": routes}}
    rows = [
        row(cart, "v2", "canary.beta"),
        row(cart, "v1", "-"),
        row(cart, "v1", "-", "bank/x"),
        row("", "", "moved"),
        row("api.example.com", "", ""),
        row(cart, "v1", "canaries"),
    ]
    use = rule_use.of(rule, rows, frozenset({"shop"}))
    assert (use.looked, [r.requests for r in use.routes]) == (5, [1, 1, 1, 1, 1, None])
    assert [r.shared for r in use.routes] == [False, False, True, True, False, False]
    assert use.routes[0].destinations == ["cart.shop v2"]
    assert [r.requests for r in rule_use.of(rule, [], frozenset({"shop"})).routes] == [0, 0, 0, 0, 0, None]


async def test_the_use_of_a_rule_over_the_api(web: Web, lab: Lab) -> None:
    lab.api.rights.add(("admin", "shop"))
    status, use = await get(web, "/api/config/use?namespace=shop&name=cart&window=1h")
    assert (status, use["looked"]) == (200, 4)
    assert all(not route["requests"] for route in use["routes"])
    assert (await get(web, "/api/config/use?namespace=shop&name=none"))[0] == 404
    assert (await get(web, "/api/config/use?namespace=shop&name=cart&window=9d"))[0] == 400
