"""Istio's standard metrics, from what Envoy's statistics access logger prints.

Envoy counts under one label that holds all, and what the proxy is itself it does not say. That costs less in configuration, in memory and
in a scrape (decision 19). This module writes the labels out as Istio names them. The emitter is
`envoy.features.telemetry.metrics`; names and values: istio.md 4.3.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sailcloth.api import workload_labels

PREFIX = b"envoy_istiocustom_"
"""What Envoy puts before each name."""
MESSAGES = b"istio_grpc_messages_total"
"""Calls by their messages: the label `messages` is "requests,responses"."""
UNKNOWN = "unknown"
_MAX_CACHED = 20_000  # label sets
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)",?')
_ESCAPED = re.compile(r"_([0-9a-f]{2})")
_SUFFIX = ".workload.sailcloth"
_SPECIAL = ("PassthroughCluster", "BlackHoleCluster", "InboundPassthroughCluster")
_INTERNAL = frozenset({"labels", "messages", "drop"})
_PARTS = ("reporter", "response_flags", "response_code", "grpc_response_status", "peer", "principal", "service")


@dataclass(frozen=True)
class Workload:
    """A workload as labels name it; empty parts are not known."""

    name: str = ""
    namespace: str = ""
    app: str = ""
    version: str = ""
    canonical_service: str = ""
    canonical_revision: str = ""
    cluster: str = ""

    def labels(self, side: str, principal: str) -> dict[str, str]:
        """The labels of one side, source or destination. All are unknown without a name, but what the principal says."""
        known = bool(self.name)
        namespace = self.namespace or (_namespace(principal) if principal else "")
        return {
            f"{side}_workload": self.name or UNKNOWN,
            f"{side}_workload_namespace": namespace or UNKNOWN,
            f"{side}_principal": principal or UNKNOWN,
            f"{side}_app": self.app or UNKNOWN,
            f"{side}_version": self.version or UNKNOWN,
            f"{side}_canonical_service": self.canonical_service or self.app or self.name or UNKNOWN,
            f"{side}_canonical_revision": self.canonical_revision or self.version or ("latest" if known else UNKNOWN),
            f"{side}_cluster": (self.cluster or "Kubernetes") if known else UNKNOWN,
        }


def workload(name: str, namespace: str, labels: dict[str, str], cluster: str = "Kubernetes") -> Workload:
    """A workload by the labels of its pods."""
    canonical = workload_labels.canonical_service(labels), workload_labels.canonical_revision(labels)
    return Workload(name, namespace, workload_labels.app(labels), workload_labels.version(labels), *canonical, cluster)


class StandardMetrics:
    """Rewrites the pages of one proxy. A label set is written out once; an unchanged line costs a look-up."""

    def __init__(self, own: Workload, principal: Callable[[], str] = str) -> None:
        """`principal` gives the proxy's own SPIFFE id, empty if it has none."""
        self._own, self._principal = own, principal
        self._cache: dict[bytes, bytes] = {}

    def rewrite(self, page: bytes) -> bytes:
        """A page of Envoy's metrics, in Prometheus' text format, with Istio's names and labels."""
        if len(self._cache) > _MAX_CACHED:
            self._cache.clear()
        out: list[bytes] = []
        messages: dict[tuple[bytes, bytes], float] = {}
        for line in page.splitlines():
            if line.startswith(PREFIX):
                self._sample(line[len(PREFIX) :], out, messages)
            elif line.startswith(b"# ") and PREFIX in line:
                if MESSAGES not in line:
                    out.append(line.replace(PREFIX, b""))
            else:
                out.append(line)
        for name in (b"istio_request_messages_total", b"istio_response_messages_total"):
            of_name = [(labels, number) for (n, labels), number in messages.items() if n == name]
            if of_name:
                out.append(b"# TYPE %s counter" % name)
                out += [b"%s{%s} %d" % (name, labels, number) for labels, number in of_name]
        return b"\n".join(out) + b"\n" if out else b""

    def _sample(self, line: bytes, out: list[bytes], messages: dict[tuple[bytes, bytes], float]) -> None:
        name, _, rest = line.partition(b"{")
        labels, _, value = rest.rpartition(b"} ")
        labels, bucket, bound = labels.partition(b',le="')
        written = self._cache.get(labels)
        if written is None:
            written = self._cache[labels] = self._written(labels.decode(errors="replace")).encode()
        if name != MESSAGES:
            out.append(b"%s{%s%s%s} %s" % (name, written, bucket, bound, value))
            return
        for counted, number in zip(
            (b"istio_request_messages_total", b"istio_response_messages_total"), _messages(labels), strict=True
        ):
            messages[counted, written] = messages.get((counted, written), 0) + number * float(value)

    def _written(self, text: str) -> str:
        given = {m[1]: _unescaped(m[2]) for m in _LABEL.finditer(text)}
        parts = dict(zip(_PARTS, given.get("labels", "").split("|", len(_PARTS) - 1), strict=False))
        labels = self._expanded({name: "" if value == "-" else value for name, value in parts.items()})
        labels.update({name: value for name, value in given.items() if name not in _INTERNAL})
        for name in given.get("drop", "").split(","):
            labels.pop(name, None)
        return ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(labels.items()))

    def _expanded(self, given: dict[str, str]) -> dict[str, str]:
        """Istio's labels; what is empty is not known."""
        source = given.get("reporter") == "source"
        principal, code, status = (given.get(n, "") for n in ("principal", "response_code", "grpc_response_status"))
        own = self._own.labels("source" if source else "destination", self._principal() if principal else "")
        if source:
            labels = {**own, **_of_endpoint(given.get("peer", "")).labels("destination", principal)}
            policy = UNKNOWN
        else:
            labels = {**_of_certificate(given.get("peer", "")).labels("source", principal), **own}
            policy = "mutual_tls" if principal else "none"
        host, name, namespace = _service(given.get("service", ""), self._own.namespace, source)
        return {
            "reporter": given.get("reporter") or UNKNOWN,
            **labels,
            "destination_service": host or UNKNOWN,
            "destination_service_name": name or UNKNOWN,
            "destination_service_namespace": namespace or UNKNOWN,
            "connection_security_policy": policy,
            "request_protocol": "grpc" if status else "http" if code else "tcp",
            "response_flags": given.get("response_flags") or "-",
            **({"response_code": code} if code else {}),
            **({"grpc_response_status": status} if status else {}),
        }


def _messages(labels: bytes) -> tuple[float, float]:
    """The messages of one call: (requests, responses)."""
    found = re.search(rb'messages="(\d+),(\d+)"', labels)
    return (float(found[1]), float(found[2])) if found else (0.0, 0.0)


def _of_endpoint(text: str) -> Workload:
    """A workload from endpoint metadata: name;namespace;canonical service;revision;cluster[;app;version]."""
    parts = text.split(";")
    if len(parts) < 5 or not parts[0]:
        return Workload()
    app, version = parts[5:7] if len(parts) >= 7 else parts[2:4]
    return Workload(parts[0], parts[1], app, version, parts[2], parts[3], parts[4])


def _of_certificate(names: str) -> Workload:
    """A workload from the DNS names of a certificate, of which one holds its attributes (`ca.authority.Identity.attributes`)."""
    name = next((n for n in names.split(",") if n.endswith(_SUFFIX)), "")
    parts = [_decoded(p) for p in name.removesuffix(_SUFFIX).split(".")]
    if len(parts) != 6 or not parts[0]:
        return Workload()
    return Workload(*parts)


def _decoded(label: str) -> str:
    if label == "_":
        return ""
    raw = _ESCAPED.sub(lambda m: chr(int(m[1], 16)), label)
    return raw.encode("latin-1", errors="replace").decode(errors="replace")


def _service(text: str, own_namespace: str, outbound: bool) -> tuple[str, str, str]:
    """(host, name, namespace) of the service in cluster metadata; of a request's host that no service has; or of a connection, if it is
    empty: only those that pass through have none."""
    if text.startswith("["):
        first = next(iter(_services(text)), {})
        host = str(first.get("host") or "")
        name, namespace = str(first.get("name") or ""), str(first.get("namespace") or "")
        if not name:
            short, _, rest = host.partition(".")
            inside, _, kind = rest.partition(".")
            name, namespace = (short, inside) if kind.startswith("svc.") or kind == "svc" else (host, own_namespace)
        return ("" if name in _SPECIAL else host), name, namespace
    return text, "PassthroughCluster" if outbound else "InboundPassthroughCluster", ""


def _services(text: str) -> Iterator[dict[str, object]]:
    try:
        listed = json.loads(text)
    except ValueError:
        return
    if isinstance(listed, list):
        yield from (one for one in listed if isinstance(one, dict))


def _namespace(principal: str) -> str:
    _, _, rest = principal.partition("/ns/")
    return rest.partition("/")[0]


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], text) if "\\" in text else text


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
