"""The services of a cluster or a route in its metadata, where metrics and Istio's tools look for them."""

from __future__ import annotations

from envoy.config.core.v3 import base_pb2


def add(metadata: base_pb2.Metadata, host: str = "", name: str = "", namespace: str = "") -> None:
    """Name a service; what is empty is left out."""
    service = metadata.filter_metadata["istio"].fields["services"].list_value.values.add().struct_value
    for key, value in (("host", host), ("name", name), ("namespace", namespace)):
        if value:
            service.fields[key].string_value = value
