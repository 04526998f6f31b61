"""The control plane's own metrics, under Istio's names (istio.md 4.2).

What changes is counted where it happens; what is there (proxies, services, certificates) is looked at when a scrape comes. The
library that writes Prometheus' text is imported by the first scrape. Must not hold anything up: a count is an addition.
"""

from __future__ import annotations

import re
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from sailcloth.api.kinds import CORE_KINDS
from sailcloth.api.meta import Finding, Key, Object
from sailcloth.mesh.registry import Mesh
from sailcloth.xds.types import SHORT

from .connected_proxies import ConnectedProxies
from .debug_requests import build_info

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric

TYPES = {url: short.lower() for url, short in SHORT.items()}
CONVERGENCE_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 3, 5, 10, 20, 30)
"""Seconds. Istio's begin with 0.1."""
_INJECTION_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1)
Values = Mapping[tuple[str, ...], float]
"""Samples by the values of their labels."""
_CORE = frozenset(kind.name for kind in CORE_KINDS)
_TRIGGERS = {"EndpointSlice": "endpoint", "Service": "service", "Pod": "proxyupdate", "Secret": "secret"}


class Histogram:
    """Counts by bounds of buckets."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds, self.counts, self.total = bounds, [0] * (len(bounds) + 1), 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """(bound, count up to it), as Prometheus has them."""
        out, so_far = [], 0
        for bound, count in zip((*self.bounds, None), self.counts, strict=True):
            so_far += count
            out.append(("+Inf" if bound is None else f"{bound:g}", float(so_far)))
        return out


class Metrics:
    """Counts what the control plane does. `more` gives counters and gauges of other parts: name to (text, value)."""

    def __init__(
        self,
        mesh: Mesh,
        proxies: ConnectedProxies,
        counters: Callable[[], Mapping[str, tuple[str, float]]],
        gauges: Callable[[], Mapping[str, tuple[str, float]]],
    ) -> None:
        self._mesh, self._proxies, self._counters, self._gauges = mesh, proxies, counters, gauges
        self._started = time.monotonic()
        self._events: Counter[tuple[str, str]] = Counter()
        self._answers: Counter[tuple[str, bool]] = Counter()
        self._refused: Counter[str] = Counter()
        self._admission: Counter[str] = Counter()
        self.convergence = Histogram(CONVERGENCE_BUCKETS)
        self.injection = Histogram(_INJECTION_BUCKETS)
        self._registry: CollectorRegistry | None = None

    def changed(self, key: Key, obj: Object | Finding | None) -> None:
        """An event about an object has come; call before it is applied."""
        event = "delete" if obj is None else "update" if key in self._mesh.objects else "add"
        self._events[key.kind, event] += 1
        if isinstance(obj, Finding):
            self._refused[key.kind] += 1

    def answered(self, type_url: str, error: str, converged_s: float | None) -> None:
        """A proxy has acknowledged a push, or refused it. `converged_s`: since the first change that it now has, if it has all."""
        self._answers[TYPES.get(type_url, "other"), not error] += 1
        if converged_s is not None:
            self.convergence.observe(converged_s)

    def validated(self, passed: bool) -> None:
        """The validating webhook has judged an object."""
        self._admission["passed" if passed else "failed"] += 1

    def injected(self, result: str, seconds: float) -> None:
        """The mutating webhook has answered: success, skip or failure."""
        self._admission[result] += 1
        self.injection.observe(seconds)

    def page(self) -> bytes:
        """All metrics in Prometheus' text format."""
        from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

        if self._registry is None:
            self._registry = CollectorRegistry()
            self._registry.register(self)
            ProcessCollector(registry=self._registry)
        return _named_as_counted(generate_latest(self._registry))

    def collect(self) -> Iterable[Metric]:
        """For the library: every metric with its samples."""
        yield from self._of_delivery()
        yield from self._of_objects()
        yield from self._of_webhooks()
        yield _gauge("istiod_uptime_seconds", "Time since start.", time.monotonic() - self._started)
        tag = build_info()["tag"]
        yield _gauge("istio_build", "The version.", 1, component="pilot", tag=tag)
        yield _gauge("pilot_info", "The version.", 1, version=tag)
        for name, (text, value) in self._counters().items():
            yield _counter(name, text, {(): value}, ())
        for name, (text, value) in self._gauges().items():
            yield _gauge(name, text, value)

    def _of_delivery(self) -> Iterable[Metric]:
        versions = Counter(
            str(c.proxy.metadata.get("ISTIO_VERSION") or "unknown") for c in self._proxies.clients.values()
        )
        yield _gauges("pilot_xds", "Connected proxies.", ("version",), {(v,): n for v, n in versions.items()})
        pushed: Counter[tuple[str, ...]] = Counter()
        for (kind, _), count in self._answers.items():
            pushed[(kind,)] += count
        yield _counter("pilot_xds_pushes", "Pushes that proxies have answered, by type.", pushed, ("type",))
        refused: Values = {(kind,): n for (kind, ok), n in self._answers.items() if not ok}
        yield _counter("pilot_total_xds_rejects", "Pushes that proxies have refused.", refused, ("type",))
        for kind in ("cds", "eds", "lds", "rds"):
            count = self._answers[kind, False]
            yield _gauge(f"pilot_xds_{kind}_reject", "Pushes that proxies have refused.", count)
        yield _histogram(
            "pilot_proxy_convergence_time",
            "From an object's change to its acknowledgement by a proxy.",
            self.convergence,
        )
        inbound: Counter[tuple[str, ...]] = Counter()
        triggers: Counter[tuple[str, ...]] = Counter()
        for (kind, event), count in self._events.items():
            of_service = ("svcdelete" if event == "delete" else "svc") if kind == "Service" else ""
            inbound[("eds" if kind == "EndpointSlice" else of_service or "config",)] += count
            triggers[(_TRIGGERS.get(kind, "config"),)] += count
        yield _counter("pilot_inbound_updates", "Changes that have come.", inbound, ("type",))
        yield _counter("pilot_push_triggers", "What pushes were for.", triggers, ("type",))

    def _of_objects(self) -> Iterable[Metric]:
        config: Values = {(k, e): n for (k, e), n in self._events.items() if k not in _CORE}
        registry: Values = {(k, e): n for (k, e), n in self._events.items() if k in _CORE}
        yield _counter("pilot_k8s_cfg_events", "Events of configuration.", config, ("type", "event"))
        yield _counter("pilot_k8s_reg_events", "Events of the registry.", registry, ("type", "event"))
        kinds = Counter(key.kind for key in self._mesh.objects)
        yield _gauge("pilot_services", "Services known.", kinds["Service"] + kinds["ServiceEntry"])
        yield _gauge("pilot_virt_services", "VirtualServices known.", kinds["VirtualService"])
        yield _gauge("pilot_total_rejected_configs", "Objects that are not valid.", sum(self._refused.values()))

    def _of_webhooks(self) -> Iterable[Metric]:
        counts = self._admission
        yield _counter("galley_validation_passed", "Objects that were valid.", {(): counts["passed"]}, ())
        yield _counter("galley_validation_failed", "Objects that were not.", {(): counts["failed"]}, ())
        requests = sum(self.injection.counts)
        for name, count in (
            ("requests", requests),
            ("success", counts["success"]),
            ("failure", counts["failure"]),
            ("skip", counts["skip"]),
        ):
            yield _counter(f"sidecar_injection_{name}_total", "Requests for injection.", {(): count}, ())
        yield _histogram("sidecar_injection_time_seconds", "Time of an injection.", self.injection)


def _gauge(name: str, text: str, value: float, **labels: str) -> Metric:
    return _gauges(name, text, tuple(labels), {tuple(labels.values()): value})


def _gauges(name: str, text: str, labels: tuple[str, ...], values: Values) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(name, text, labels=labels)
    for of, value in values.items():
        family.add_metric(of, value)
    return family


def _counter(name: str, text: str, values: Values, labels: tuple[str, ...]) -> Metric:
    """A counter under its name in Istio, which ends with `_total` or does not."""
    from prometheus_client import Metric

    family = Metric(name.removesuffix("_total"), text, "counter")
    for of, value in values.items():
        family.add_sample(name, dict(zip(labels, of, strict=True)), value)
    return family


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(name, text)
    family.add_metric((), histogram.buckets(), histogram.total)
    return family


def _named_as_counted(page: bytes) -> bytes:
    """A page with the types of counters under the names of their samples: the library gives every counter's the suffix `_total`."""
    samples = set(re.findall(rb"^([a-zA-Z_]\w*)", page, re.MULTILINE))
    return re.sub(
        rb"^# (HELP|TYPE) (\w+)_total ",
        lambda m: m[0] if m[2] + b"_total" in samples else b"# %s %s " % (m[1], m[2]),
        page,
        flags=re.MULTILINE,
    )
