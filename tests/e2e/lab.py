"""A namespace with an echo in two versions, and a caller with a sidecar, for tests of what single fields do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from .bookinfo import Cluster

Object = dict[str, Any]
_MARK = "@@"
KINDS = "virtualservices,destinationrules,serviceentries,sidecars,workloadentries,gateways.networking.istio.io"


def kind(name: str, called: str, **spec: Any) -> Object:
    return {"apiVersion": "networking.istio.io/v1", "kind": name, "metadata": {"name": called}, "spec": spec}


def deployment(name: str, labels: Object, container: Object, annotations: Object | None = None) -> Object:
    template = {
        "metadata": {"labels": labels, "annotations": annotations or {}},
        "spec": {"containers": [{"name": "main", **container}]},
    }
    spec = {"selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def echo(version: str, **labels: str) -> Object:
    fields = [("NAMESPACE", "metadata.namespace"), ("POD_NAME", "metadata.name")]
    env: list[Object] = [{"name": n, "valueFrom": {"fieldRef": {"fieldPath": p}}} for n, p in fields]
    env.append({"name": "SERVICE_NAME", "value": version})
    container = {"image": "gcr.io/k8s-staging-gateway-api/echo-basic", "env": env, "ports": [{"containerPort": 3000}]}
    return deployment(f"echo-{version}", {"app": "echo", "version": version, **labels}, container)


@dataclass(frozen=True)
class Answer:
    """What curl saw; status 0 if there was no answer."""

    status: int
    seconds: float
    head: str
    body: str

    @property
    def told(self) -> Object:
        """What the echo says of the request."""
        found: Object = json.loads(self.body)
        return found

    @property
    def version(self) -> str:
        return str(self.told["service"]) if self.status == 200 else str(self.status)

    def header(self, name: str) -> str:
        """A header of the answer, empty if there is none."""
        for line in self.head.splitlines():
            key, _, value = line.partition(":")
            if key.strip().lower() == name.lower():
                return value.strip()
        return ""


class Lab:
    """`ask` goes through the caller's sidecar; `apply` returns when every proxy has what was applied."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster, self.namespace = cluster, namespace
        cluster.kubectl("create", "namespace", namespace)
        cluster.kubectl("label", "namespace", namespace, "istio-injection=enabled")
        service = {"selector": {"app": "echo"}, "ports": [{"name": "http", "port": 80, "targetPort": 3000}]}
        self.put({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "echo"}, "spec": service})
        caller = {"image": "curlimages/curl", "command": ["sleep", "infinity"]}
        self.put(echo("v1"), echo("v2"), deployment("caller", {"app": "caller", "team": "blue"}, caller))
        self.ready()

    def put(self, *objects: Object) -> None:
        for obj in objects:
            self.kubectl("apply", "-f", "-", stdin=json.dumps(obj))

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.cluster.kubectl("-n", self.namespace, *arguments, stdin=stdin)

    def ready(self) -> None:
        self.kubectl("wait", "--for=condition=Available", "deployment", "--all", "--timeout=60s")

    def apply(self, *objects: Object) -> None:
        self.put(*objects)
        names = [f"{o['kind'].lower()}.networking.istio.io/{o['metadata']['name']}" for o in objects]
        self.kubectl("wait", "--for=condition=Programmed", "--timeout=20s", *names)

    def clear(self) -> None:
        self.kubectl("delete", KINDS, "--all")

    def ip(self, label: str) -> str:
        return self.kubectl("get", "pods", "-l", label, "-o", "jsonpath={.items[0].status.podIP}")

    def many(self, count: int, *arguments: str) -> list[Answer]:
        """The answers to equal requests, each on a connection of its own, one after the other."""
        form = f"\n{_MARK}%{{http_code}} %{{time_total}}\n"
        script = f'for i in $(seq {count}); do curl -s -i -m 10 -w "$0" "$@" || true; done'
        command = ("exec", "deploy/caller", "-c", "main", "--", "sh", "-c", script, form, *arguments)
        out = []
        rest = self.kubectl(*command)
        for _ in range(count):
            answer, _, rest = rest.partition(f"\n{_MARK}")
            numbers, _, rest = rest.partition("\n")
            status, seconds = numbers.split()
            head, _, body = answer.replace("\r\n", "\n").partition("\n\n")
            out.append(Answer(int(status), float(seconds), head, body))
        return out

    def ask(self, *arguments: str) -> Answer:
        return self.many(1, *arguments)[0]
