"""What a workload is called, by the labels of its pods. Source: Istio's canonical service, istio.md 2.18."""

from __future__ import annotations

from collections.abc import Mapping

Labels = Mapping[str, str]


def app(labels: Labels) -> str:
    """The application; empty if no label says it."""
    return labels.get("app") or labels.get("app.kubernetes.io/name") or ""


def version(labels: Labels) -> str:
    """The version; empty if no label says it."""
    return labels.get("version") or labels.get("app.kubernetes.io/version") or ""


def canonical_service(labels: Labels) -> str:
    """The service that the workload is part of, if a label says it; else Istio takes the workload's name."""
    return (
        labels.get("service.istio.io/canonical-name") or labels.get("app.kubernetes.io/name") or labels.get("app", "")
    )


def canonical_revision(labels: Labels) -> str:
    """The revision of that service, if a label says it; else Istio says `latest`."""
    first, second = "service.istio.io/canonical-revision", "app.kubernetes.io/version"
    return labels.get(first) or labels.get(second) or labels.get("version", "")
