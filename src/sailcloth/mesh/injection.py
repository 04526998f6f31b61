"""Which namespaces and pods get a sidecar, by their labels and annotations. Source: istio.md 2.19."""

from __future__ import annotations

from collections.abc import Mapping

from sailcloth.api import revision

NAMESPACE, REVISION, POD = "istio-injection", revision.LABEL, "sidecar.istio.io/inject"
MODE = "istio.io/dataplane-mode"
IGNORED_NAMESPACES = ("kube-system", "kube-public", "kube-node-lease", "local-path-storage")
_YES, _NO = ("true", "yes", "y", "on", "1"), ("false", "no", "n", "off", "0")


def of_namespace(labels: Mapping[str, str]) -> bool | None:
    """Whether pods of a namespace get a sidecar unless they say otherwise; None if its labels do not say."""
    if NAMESPACE in labels:
        return labels[NAMESPACE] == "enabled"
    return True if labels.get(REVISION) else None


def of_pod(labels: Mapping[str, str], annotations: Mapping[str, str]) -> bool | None:
    """What a pod says for itself; the label has precedence over the annotation. None if it says nothing."""
    given = str(labels.get(POD, annotations.get(POD, ""))).lower()
    return True if given in _YES else False if given in _NO else None
