"""Meshes of any size as Kubernetes objects, and the exponent of growth."""

from __future__ import annotations

import math
from typing import Any

import yaml

Object = dict[str, Any]


def service(number: int) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": f"s{number}", "namespace": "default"},
        "spec": {
            "clusterIP": f"10.96.{number // 250 + 1}.{number % 250 + 1}",
            "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}],
        },
    }


def endpoints(number: int, extra: int = 0) -> Object:
    addresses = [f"10.43.{number // 250}.{number % 250 + 1}", f"10.44.{number // 250}.{number % 250 + 1}"]
    addresses += [f"10.45.{extra // 250}.{extra % 250 + 1}"] if extra else []
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"s{number}-a",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": f"s{number}"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [a], "conditions": {"ready": True}} for a in addresses],
    }


def virtual_service(number: int, timeout_s: int = 1) -> Object:
    host = f"s{number}"
    route = {"route": [{"destination": {"host": host}}], "timeout": f"{timeout_s}s"}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": host, "namespace": "default"},
        "spec": {"hosts": [host], "http": [route]},
    }


def text(services: int) -> str:
    """All objects of a mesh; every tenth service has a VirtualService."""
    made: list[Object] = []
    for number in range(services):
        made += [service(number), endpoints(number)]
        if number % 10 == 0:
            made.append(virtual_service(number))
    return yaml.dump_all(made, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper))


def dump(obj: Object) -> str:
    return str(yaml.safe_dump(obj))


def exponent(points: list[tuple[float, float]]) -> float:
    """k of time = a·n^k by least squares on logarithms."""
    xs, ys = [math.log(n) for n, _ in points], [math.log(max(t, 1e-6)) for _, t in points]
    mx, my = sum(xs) / len(xs), sum(ys) / len(ys)
    return round(sum((x - mx) * (y - my) for x, y in zip(xs, ys, strict=True)) / sum((x - mx) ** 2 for x in xs), 3)
