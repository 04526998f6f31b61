"""Telemetry: settings without a provider, and providers that are going away."""

from __future__ import annotations

from collections.abc import Iterator

from sailcloth.api.meta import Finding, Key

from . import unstructured
from .catalogue import finding
from .objects import ObjectSet


def providers(objects: ObjectSet) -> Iterator[Finding]:
    """Access logs without a provider where the mesh has no default one."""
    if unstructured.items(objects.options, "defaultProviders", "accessLogging"):
        return
    for one in objects.of("Telemetry"):
        for index, settings in unstructured.objects(one.spec, "accessLogging"):
            if not unstructured.items(settings, "providers") and settings.get("disabled") is not True:
                at = f"spec.accessLogging[{index}]"
                yield finding("IST0157", one.key, at, one.key.name, one.key.namespace)
                break


def lightstep(objects: ObjectSet) -> Iterator[Finding]:
    """Traces to the provider Lightstep: by a Telemetry, or by default."""
    kinds = {unstructured.text(p, "name"): p for _, p in unstructured.objects(objects.options, "extensionProviders")}
    names = {name for name, provider in kinds.items() if "lightstep" in provider} | ({"lightstep"} - kinds.keys())
    text = "The Lightstep provider is deprecated, please migrate to OpenTelemetry provider."
    if names.intersection(unstructured.texts(objects.options, "defaultProviders", "tracing")):
        yield finding("IST0002", Key("MeshConfig", objects.root, "istio"), "defaultProviders.tracing", text)
    for one in objects.of("Telemetry"):
        for index, tracing in unstructured.objects(one.spec, "tracing"):
            for number, provider in unstructured.objects(tracing, "providers"):
                if unstructured.text(provider, "name") in names:
                    yield finding("IST0002", one.key, f"spec.tracing[{index}].providers[{number}]", text)
