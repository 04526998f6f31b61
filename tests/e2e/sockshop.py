"""The Sock Shop in a cluster of its own, as its user has it: `sailctl up`, kubectl, a browser's requests."""

from __future__ import annotations

import http.client
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

from .bookinfo import Answer, Cluster, Object

SAMPLES = Path(__file__).parents[2] / "samples"
NETWORKING = SAMPLES / "sock-shop" / "networking"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


class Shop(Cluster):
    """`start` leaves an empty cluster whose namespace sock-shop is injected."""

    def start(self, *options: str) -> Object:
        self.found = json.loads(self.sailctl("up", "--detach", "-o", "json", *options))
        self.kubectl("create", "namespace", "sock-shop", "--save-config")
        self.kubectl("label", "namespace", "sock-shop", "istio-injection=enabled")
        return self.found

    def kubectl(self, *arguments: str, stdin: str | None = None, fails: bool = False) -> str:
        return super().kubectl("--namespace=sock-shop", *arguments, stdin=stdin, fails=fails)

    def open(self) -> None:
        """All services, the load client, the gateway; returns when the front page is served."""
        self.kubectl("apply", "-f", str(SAMPLES / "sock-shop" / "platform" / "kube" / "sock-shop.yaml"))
        self.kubectl("apply", "-f", str(SAMPLES / "httpbin" / "sample-client" / "fortio-deploy.yaml"))
        self.rules("destination-rule-all.yaml", "sock-shop-gateway.yaml")
        self.ready()

    def ready(self) -> None:
        """Wait until every Deployment has its pods and the front page is served."""
        self.kubectl("wait", "--for=condition=Available", "deployment", "--all", "--timeout=60s")
        self.eventually(lambda: self.get("/").status == 200)

    def rules(self, *files: str) -> None:
        for name in files:
            self.kubectl("apply", "-f", str(NETWORKING / name))
            self.applied("-f", str(NETWORKING / name))

    def reset(self) -> None:
        self.kubectl("delete", "virtualservice", "catalogue", "--ignore-not-found")
        self.rules("destination-rule-all.yaml", "sock-shop-gateway.yaml")
        self.eventually(lambda: self.get("/catalogue").status == 200)

    def colours(self, count: int, agent: str = "curl/8") -> Counter[str]:
        """Which version of the front end answers."""
        return Counter(self.get("/", user_agent=agent).headers["x-front-end"] for _ in range(count))

    def fortio(self, *arguments: str) -> tuple[Counter[int], str]:
        """Codes by count of a load from inside the mesh, and what was printed."""
        command = ("/usr/bin/fortio", "load", *arguments)
        text = self.kubectl("exec", "deploy/fortio-deploy", "-c", "fortio", "--", *command)
        words = [line.split() for line in text.splitlines() if line.startswith("Code ")]
        return Counter({int(w[1]): int(w[3]) for w in words}), text


class Browser:
    """One visitor with a cookie jar."""

    def __init__(self, shop: Shop, source: str = "") -> None:
        self._shop, self._source = shop, source
        self.cookies: dict[str, str] = {}

    def ask(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> Answer:
        where = (self._source, 0) if self._source else None
        link = http.client.HTTPConnection(*self._shop.gateway, timeout=30, source_address=where)
        sent = {k.replace("_", "-"): v for k, v in headers.items()}
        if self.cookies:
            sent["cookie"] = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
        begin = time.monotonic()
        try:
            link.request(method, path, None if body is None else json.dumps(body), sent)
            got = link.getresponse()
            text = got.read().decode()
        finally:
            link.close()
        for line in got.headers.get_all("set-cookie") or ():
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
        return Answer(got.status, {k.lower(): v for k, v in got.getheaders()}, text, time.monotonic() - begin)
