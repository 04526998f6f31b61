"""Whether `sailctl x explain` tells the truth: random requests under random rules, explained, and sent through real Envoys.

Each configuration has rules for `reviews` (routes by path, method, headers and parameters; shares, redirects, direct responses, aborts,
rewrites), sometimes an AuthorizationPolicy, and rules at the ingress gateway. A request agrees if its status is the explained
one, or if the application answered where one was expected, from a version that the explanation names.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Object = dict[str, Any]
CONFIGURATIONS, REQUESTS = 200, 50  # requests of each configuration, a quarter of them at the gateway
SAILCTL = (sys.executable, "-m", "sailcloth.cli")
_DRAINED_S = 3.0  # a connection that began before a change may be judged by the rules of before until it has ended
_PATHS = (
    "/reviews/0",
    "/reviews/1",
    "/reviews",
    "/Reviews/0",
    "/health",
    "/reviews/0?a=1",
    "/reviews/1?a=2&b=x",
    "/other",
)
_HOSTS = ("shop.example.com", "SHOP.example.com", "a.example.com", "other.example.org", "example.com")
_KINDS = "virtualservices,authorizationpolicies,gateways.networking.istio.io"
_SEND = """
import http.client, json, sys
for line in sys.stdin:
    q = json.loads(line)
    c = http.client.HTTPConnection('reviews', 9080, timeout=20)
    c.request(q['method'], q['path'], headers=q['headers'])
    r = c.getresponse()
    body = r.read().decode(errors='replace')
    c.close()
    print(json.dumps({'status': r.status, 'location': r.getheader('location') or '', 'body': body,
                      'upstream': r.getheader('x-envoy-upstream-service-time') is not None}))
"""


@dataclass(frozen=True)
class Request:
    """`outside`: at the gateway."""

    method: str
    path: str
    headers: dict[str, str]
    outside: bool = False
    host: str = "reviews"

    def question(self) -> Object:
        """As `sailctl x explain --requests` takes it."""
        if self.outside:
            return {"url": f"http://{self.host}{self.path}", "method": self.method, "headers": self.headers}
        source = {"source": "default/productpage-v1", "url": f"http://reviews:9080{self.path}"}
        return {**source, "method": self.method, "headers": self.headers}


@dataclass
class Found:
    """How many agreed, at once or when connections from before the change had ended, and examples of those that did not."""

    sent: int = 0
    agreed: int = 0
    agreed_later: int = 0
    differ: list[Object] = field(default_factory=list)


class Lab:
    """A cluster with Bookinfo. kubectl, sailctl: run a command with standard input, and return its output."""

    def __init__(
        self,
        kubectl: Callable[[Sequence[str], str], str],
        sailctl: Callable[[Sequence[str], str], str],
        gateway: tuple[str, int],
    ) -> None:
        self._kubectl, self._sailctl, self._gateway = kubectl, sailctl, gateway

    def compare(self, seed: int, configurations: int, requests: int) -> Found:
        """Apply random configurations, one after the other, and compare random requests under each."""
        found = Found()
        for number in range(configurations):
            chance = random.Random(f"{seed} {number}")
            objects = configuration(chance)
            self._apply(objects)
            sent = [request(chance) for _ in range(requests)]
            explained = self._explain(sent)
            actual = self._send(sent)
            found.sent += len(sent)
            differ = [(r, said) for r, said, was in zip(sent, explained, actual, strict=True) if not agrees(said, was)]
            found.agreed += len(sent) - len(differ)
            if differ:
                time.sleep(_DRAINED_S)
                again = self._send([one for one, _ in differ])
                for (one, said), was in zip(differ, again, strict=True):
                    if agrees(said, was):
                        found.agreed_later += 1
                    elif len(found.differ) < 20:
                        example = {"request": one.question(), "said": said["outcome"], "was": was}
                        found.differ.append({"seed": seed, "number": number, **example})
        return found

    def _apply(self, objects: Sequence[Object]) -> None:
        names = [f"{o['kind'].lower()}.{o['apiVersion'].partition('/')[0]}/{o['metadata']['name']}" for o in objects]
        present = self._kubectl(("get", _KINDS, "-o", "name"), "").split()
        gone = [name for name in present if name not in names]
        if gone:
            self._kubectl(("delete", *gone), "")
        self._kubectl(("apply", "-f", "-"), json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))
        self._kubectl(("wait", "--for=condition=Programmed", "--timeout=20s", *names), "")
        if gone:
            self._wait_until_forgotten()

    def _wait_until_forgotten(self) -> None:
        """Until no proxy has anything of what was deleted: all are in sync again."""
        end = time.monotonic() + 20
        while "STALE" in self._sailctl(("proxy-status", "-v"), "") and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(0.1)

    def _explain(self, sent: Sequence[Request]) -> list[Object]:
        lines = "\n".join(json.dumps(one.question()) for one in sent)
        return [json.loads(line) for line in self._sailctl(("x", "explain", "--requests", "-"), lines).splitlines()]

    def _send(self, sent: Sequence[Request]) -> list[Object]:
        asked = [{"method": r.method, "path": r.path, "headers": r.headers} for r in sent if not r.outside]
        program = ("exec", "-i", "deploy/productpage-v1", "--", "python3", "-c", _SEND)
        out = self._kubectl(program, "".join(f"{json.dumps(one)}\n" for one in asked)) if asked else ""
        answers = iter(out.splitlines())
        return [self._outside(one) if one.outside else json.loads(next(answers)) for one in sent]

    def _outside(self, one: Request) -> Object:
        connection = http.client.HTTPConnection(*self._gateway, timeout=20)
        try:
            connection.request(one.method, one.path, headers={"Host": one.host, **one.headers})
            answer = connection.getresponse()
            return {
                "status": answer.status,
                "location": answer.getheader("location") or "",
                "body": answer.read().decode(errors="replace"),
                "upstream": answer.getheader("x-envoy-upstream-service-time") is not None,
            }
        finally:
            connection.close()


def agrees(said: Object, was: Object) -> bool:
    """Whether an answer is what was explained."""
    if said.get("error"):
        return False
    if said["status"]:
        same_place = not said["location"] or said["location"].removesuffix("/") == was["location"].removesuffix("/")
        by_envoy = not was["upstream"] or was["body"].startswith(("RBAC", "Jwt"))  # the destination's Envoy is upstream
        return said["status"] == was["status"] and by_envoy and same_place
    if not was["upstream"]:
        return False
    try:
        pod = json.loads(was["body"])["podname"]
    except (ValueError, KeyError, TypeError):
        return True  # an answer of the application that does not say which pod it is from
    workloads = {e["workload"].partition("/")[2] for d in said["destinations"] for e in d["endpoints"]}
    return any(pod.startswith(f"{workload}-") for workload in workloads)


# -- what is tried ------------------------------------------------------------------------------


def configuration(chance: random.Random) -> list[Object]:
    """Random rules."""
    gateway = {
        "selector": {"istio": "ingressgateway"},
        "servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}],
    }
    hosts = chance.choice((["shop.example.com"], ["*.example.com"], ["*"], ["shop.example.com", "example.com"]))
    objects = [
        _object("Gateway", "front", gateway),
        _object("VirtualService", "front", {"hosts": hosts, "gateways": ["front"], "http": _rules(chance)}),
        _object("VirtualService", "reviews", {"hosts": ["reviews"], "http": _rules(chance)}),
    ]
    if chance.random() < 0.4:
        objects.append(_object("AuthorizationPolicy", "reviews", _policy(chance), "security.istio.io/v1"))
    return objects


def _object(kind: str, name: str, spec: Object, version: str = "networking.istio.io/v1") -> Object:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def _rules(chance: random.Random) -> list[Object]:
    rules = [_rule(chance, True) for _ in range(chance.randint(0, 3))]
    return rules + ([_rule(chance, False)] if chance.random() < 0.8 or not rules else [])


def _rule(chance: random.Random, limited: bool) -> Object:
    rule: Object = {"match": [_match(chance) for _ in range(chance.randint(1, 2))]} if limited else {}
    kind = chance.random()
    if kind < 0.1:
        return {
            **rule,
            "redirect": chance.choice(({"uri": "/new"}, {"authority": "new.example.com", "redirectCode": 302})),
        }
    if kind < 0.2:
        return {**rule, "directResponse": {"status": chance.choice((200, 418, 503)), "body": {"string": "direct"}}}
    if kind < 0.3:
        status = chance.choice((400, 500, 503))
        rule["fault"] = {"abort": {"httpStatus": status, "percentage": {"value": chance.choice((0, 100))}}}
    if kind > 0.85:
        rule["rewrite"] = {"uri": "/reviews/0"}
    if chance.random() < 0.3:
        rule["timeout"] = "10s"
    subsets = chance.sample(("v1", "v2", "v3", "v3"), chance.randint(1, 3))
    weights = [chance.choice((0, 10, 50)) for _ in subsets]
    weights[0] = weights[0] or 40
    route = [{"destination": {"host": "reviews", "subset": s, "port": {"number": 9080}}} for s in subsets]
    if len(route) > 1:
        route = [{**one, "weight": weight} for one, weight in zip(route, weights, strict=True)]
    return {**rule, "route": route}


def _match(chance: random.Random) -> Object:
    match: Object = {}
    if chance.random() < 0.6:
        match["uri"] = chance.choice(
            (
                {"exact": "/reviews/0"},
                {"prefix": "/reviews/"},
                {"prefix": "/"},
                {"regex": "/reviews/[0-9]+"},
                {"exact": "/health"},
            )
        )
        if chance.random() < 0.2:
            match["ignoreUriCase"] = True
    if chance.random() < 0.3:
        match["method"] = chance.choice(({"exact": "GET"}, {"regex": "P.*"}))
    if chance.random() < 0.5:
        match["headers"] = {"end-user": chance.choice(({"exact": "jason"}, {"prefix": "ja"}, {"regex": "j.*n"}, {}))}
    if chance.random() < 0.2:
        match["withoutHeaders"] = {"x-test": chance.choice(({}, {"exact": "1"}))}
    if chance.random() < 0.2:
        match["queryParams"] = {"a": chance.choice(({"exact": "1"}, {"regex": "[0-9]"}, {"prefix": "2"}))}
    return match or {"uri": {"prefix": "/reviews"}}


def _policy(chance: random.Random) -> Object:
    operation = chance.choice(
        (
            {"methods": ["GET"]},
            {"paths": ["/reviews/*"]},
            {"paths": ["/reviews/0"], "methods": ["GET", "HEAD"]},
            {"ports": ["9080"]},
        )
    )
    principals = ["cluster.local/ns/default/sa/bookinfo-productpage"]
    source = chance.choice(({"principals": principals}, {"namespaces": ["istio-system"]}, {"principals": ["*"]}))
    rule: Object = {"to": [{"operation": operation}]}
    if chance.random() < 0.5:
        rule["from"] = [{"source": source}]
    if chance.random() < 0.3:
        rule["when"] = [{"key": "request.headers[end-user]", "values": ["jason", "ja*"]}]
    action = chance.choice(("ALLOW", "DENY"))
    return {"selector": {"matchLabels": {"app": "reviews"}}, "action": action, "rules": [rule]}


def request(chance: random.Random) -> Request:
    """A random request."""
    headers = {}
    if chance.random() < 0.6:
        headers["end-user"] = chance.choice(("jason", "jane", "ja", "JASON"))
    if chance.random() < 0.3:
        headers["x-test"] = chance.choice(("1", "2"))
    method = chance.choice(("GET", "GET", "GET", "POST", "PUT"))
    outside = chance.random() < 0.25
    return Request(method, chance.choice(_PATHS), headers, outside, chance.choice(_HOSTS) if outside else "reviews")


# -- the measurement ----------------------------------------------------------------------------


async def run() -> dict[str, Any]:
    """The measurement, in a cluster of its own."""
    return await asyncio.to_thread(_run)


def _run() -> dict[str, Any]:
    folder = tempfile.mkdtemp(prefix="sailcloth-bench-")
    state = str(Path(folder) / "state")
    environment = {**os.environ, "KUBECONFIG": str(Path(state) / "kubeconfig")}

    def command(program: Sequence[str]) -> Callable[[Sequence[str], str], str]:
        def run_it(arguments: Sequence[str], stdin: str) -> str:
            done = subprocess.run(
                [*program, *arguments],
                input=stdin,
                capture_output=True,
                text=True,
                env=environment,
                timeout=120,
                check=False,
            )
            if done.returncode:
                raise RuntimeError(f"{' '.join(arguments)}: {done.stderr}")
            return done.stdout

        return run_it

    sailctl = command(SAILCTL)
    try:
        text = sailctl(("demo", "bookinfo", "--no-load", "--detach", "--state", state, "-o", "json"), "")
        host, _, port = str(json.loads(text)["urls"]["gateway"]).removeprefix("http://").partition(":")
        begin = time.monotonic()
        found = Lab(command(("kubectl",)), sailctl, (host, int(port))).compare(1, CONFIGURATIONS, REQUESTS)
        taken = time.monotonic() - begin
    finally:
        subprocess.run([*SAILCTL, "down", "--state", state], capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "configurations": CONFIGURATIONS,
        "requests": found.sent,
        "agreed": found.agreed,
        "agreed_later": found.agreed_later,
        "share": round((found.agreed + found.agreed_later) / found.sent, 5),
        "seconds": round(taken, 1),
        "differ": found.differ,
    }
