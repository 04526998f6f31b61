"""The verdict on a Telemetry: providers that do not exist, and what of it has no effect."""

from __future__ import annotations

from sailcloth.api.meta import Key
from sailcloth.api.telemetry import Telemetry
from sailcloth.api.validation import envoy_cel
from sailcloth.lib.incremental import Graph
from sailcloth.mesh import extension_providers, registry
from sailcloth.mesh.verdict import Verdict

from .policy import BUILT_IN, problem


def verdict(graph: Graph, key: Key) -> Verdict:
    """Not accepted if a provider cannot be used; notes on expressions and fields without effect."""
    obj = registry.read(graph, Telemetry, key)
    if obj is None:
        return Verdict()
    spec = obj.spec
    used = dict.fromkeys(
        [
            *((p.name, "accessLogging") for entry in spec.access_logging for p in entry.providers),
            *((p.name, "metrics") for entry in spec.metrics for p in entry.providers),
            *((p.name, "tracing") for entry in spec.tracing for p in entry.providers),
        ]
    )
    wrong = [text for name, block in used if (text := _problem(graph, name, block))]
    if wrong:
        return Verdict(False, "ProviderNotFound", "; ".join(wrong))
    return Verdict(notes=tuple(_notes(obj)))


def _problem(graph: Graph, name: str, block: str) -> str:
    found = extension_providers.find(graph, name) or BUILT_IN.get(name)
    if found is None:
        return f"no provider {name!r} in the MeshConfig's extensionProviders"
    if block == "metrics" and found.opentelemetry_metrics is not None:
        return (
            f"the provider {name!r} is for the MeshConfig's defaultProviders.metrics: proxies read it when they start"
        )
    kinds = {"accessLogging": found.logs, "metrics": found.prometheus, "tracing": found.traces}
    if kinds[block] is None:
        return f"the provider {name!r} is not for {block}"
    return problem(graph, found)


def _notes(obj: Telemetry) -> list[str]:
    notes = []
    for index, logging in enumerate(obj.spec.access_logging):
        expression = logging.filter.expression if logging.filter is not None else None
        if expression and (text := envoy_cel.problem(expression)):
            notes.append(f"accessLogging[{index}].filter is not applied: {text}")
    for index, metrics in enumerate(obj.spec.metrics):
        if metrics.reporting_interval:
            notes.append(f"metrics[{index}].reportingInterval: bytes of TCP connections are counted at their end")
        for number, override in enumerate(metrics.overrides):
            at = f"metrics[{index}].overrides[{number}]"
            if override.match is not None and override.match.custom_metric:
                notes.append(f"{at}: there is no metric {override.match.custom_metric!r}")
            for tag, change in override.tag_overrides.items():
                text = envoy_cel.problem(envoy_cel.without_string(change.value)) if change.value else ""
                notes += [f"{at}.tagOverrides.{tag} is not applied: {text}"] if text else []
    return notes
