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
    """The provider Lightstep."""
    for index, provider in unstructured.objects(objects.options, "extensionProviders"):
        if "lightstep" in provider:
            text = "The Lightstep provider is deprecated, please migrate to OpenTelemetry provider."
            key = Key("MeshConfig", objects.root, "istio")
            yield finding("IST0002", key, f"extensionProviders[{index}].lightstep", text)
