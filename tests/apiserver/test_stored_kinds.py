"""Kinds that are stored for what reads them: schema, defaults, and kubectl's columns, without a controller."""

from __future__ import annotations

from typing import Any

import pytest

from .cluster import Kubectl

Object = dict[str, Any]


def of(api: str, kind: str, spec: Object) -> Object:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": "x"}, "spec": spec}


BACKEND = {"service": {"name": "web", "port": {"number": 80}}}
PATHS = {"paths": [{"path": "/", "pathType": "Prefix", "backend": BACKEND}]}
TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
CASES: list[tuple[Object, list[str], list[str]]] = [
    (
        of("networking.k8s.io/v1", "Ingress", {"ingressClassName": "c", "rules": [{"host": "a.example", "http": PATHS}], "tls": [{}]}),
        ["NAME", "CLASS", "HOSTS", "ADDRESS", "PORTS", "AGE"],
        ["x", "c", "a.example", "80,", "443"],
    ),
    (of("networking.k8s.io/v1", "IngressClass", {"controller": "e.com/c"}), ["NAME", "CONTROLLER", "PARAMETERS", "AGE"], ["x", "e.com/c", "<none>"]),
    (of("networking.k8s.io/v1", "NetworkPolicy", {"podSelector": {"matchLabels": {"a": "b"}}}), ["NAME", "POD-SELECTOR", "AGE"], ["x", "a=b"]),
    (of("policy/v1", "PodDisruptionBudget", {"minAvailable": 1}), ["NAME", "MIN", "AVAILABLE", "MAX", "UNAVAILABLE", "ALLOWED", "DISRUPTIONS", "AGE"], ["x", "1", "N/A", "0"]),
    (of("autoscaling/v2", "HorizontalPodAutoscaler", {"scaleTargetRef": TARGET, "maxReplicas": 3}), ["NAME", "REFERENCE", "TARGETS", "MINPODS", "MAXPODS", "REPLICAS", "AGE"], ["x", "Deployment/web", "cpu:", "<unknown>/80%", "1", "3", "0"]),
    (of("v1", "ResourceQuota", {"hard": {"pods": "3", "limits.cpu": "2"}}), ["NAME", "AGE", "REQUEST", "LIMIT"], ["x"]),
    (of("v1", "LimitRange", {"limits": [{"type": "Container", "default": {"cpu": "1"}}]}), ["NAME", "CREATED", "AT"], ["x"]),
    (of("v1", "PersistentVolumeClaim", {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}), ["NAME", "STATUS", "VOLUME", "CAPACITY", "ACCESS", "MODES", "STORAGECLASS", "VOLUMEATTRIBUTESCLASS", "AGE"], ["x", "Pending"]),
]  # fmt: skip


@pytest.mark.parametrize(("obj", "heads", "cells"), CASES, ids=[o["kind"] for o, _, _ in CASES])
async def test_columns_and_descriptions(kubectl: Kubectl, obj: Object, heads: list[str], cells: list[str]) -> None:
    await kubectl("apply", "-f", "-", input=obj)
    try:
        found, row = (await kubectl("get", obj["kind"], "x")).splitlines()
        assert found.split() == heads
        assert row.split()[: len(cells)] == cells
        assert "Name:" in await kubectl("describe", obj["kind"], "x")
        wrong = {**obj, "spec": {**obj["spec"], "nonsense": 1}}
        assert 'unknown field "spec.nonsense"' in await kubectl.refused("apply", "-f", "-", input=wrong)
    finally:
        await kubectl("delete", obj["kind"], "x")
