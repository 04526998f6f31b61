"""Sailcloth: an Istio-compatible service mesh with a Python control plane and stock Envoy."""

__version__ = "0.1.0"
