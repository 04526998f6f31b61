"""Annotations in Istio's domains: unknown, at the wrong kind of object, deprecated, or with a bad value."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from sailcloth.api.meta import Finding
from sailcloth.api.validation import pod_annotations
from sailcloth.lib import bounded_yaml

from .catalogue import finding
from .context import Document
from .istio_annotations import ALPHA, ANY, DEPRECATED, KINDS
from .objects import ObjectSet

_PROXY_CONFIG = "proxy.istio.io/config"
_INGRESS_CLASS = "kubernetes.io/ingress.class"


def _places(objects: ObjectSet) -> Iterator[tuple[Document, str, str, dict[str, str]]]:
    """(object, kind that reads them, path, annotations) of all objects, and of pod templates as of pods."""
    for one in objects.all():
        yield one, one.key.kind, "metadata", one.annotations
    for template in objects.templates:
        yield template.document, "Pod", template.path.removesuffix("spec") + "metadata", template.annotations


def check(objects: ObjectSet) -> Iterator[Finding]:
    """Everything but the annotations of alpha features."""
    for one, kind, place, given in _places(objects):
        for name in (n for n in given if _is_ours(n)):
            path = f"{place}.annotations[{name}]"
            if name not in KINDS:
                yield finding("IST0108", one.key, path, name)
                continue
            if name in DEPRECATED and name != _INGRESS_CLASS:
                yield finding("IST0135", one.key, path, name, DEPRECATED[name])
            kinds = KINDS[name]
            if kind not in kinds and ANY not in kinds:
                yield finding("IST0107", one.key, path, name, ", ".join(kinds))
        if kind == "Pod":
            for name, problem in (*pod_annotations.problems(given), *_options(given)):
                yield finding("IST0125", one.key, f"{place}.annotations[{name}]", name, problem)


def _options(given: dict[str, str]) -> Iterator[tuple[str, str]]:
    """What is wrong with the annotation that has a proxy's options."""
    try:
        options = bounded_yaml.load(given.get(_PROXY_CONFIG, "{}"))
        if not isinstance(options, dict):
            yield _PROXY_CONFIG, "it must be an object"
    except yaml.YAMLError as error:
        yield _PROXY_CONFIG, f"it is not YAML: {' '.join(str(error).split())}"


def alpha(objects: ObjectSet) -> Iterator[Finding]:
    """Annotations of alpha features. Only by name: too many are in daily use."""
    for one, _, place, given in _places(objects):
        for name in given:
            if name in ALPHA:
                yield finding("IST0136", one.key, f"{place}.annotations[{name}]", name)


def _is_ours(name: str) -> bool:
    """Whether Istio documents the annotation's domain."""
    domain = name.partition("/")[0]
    return name == _INGRESS_CLASS or domain == "istio.io" or domain.endswith(".istio.io")
