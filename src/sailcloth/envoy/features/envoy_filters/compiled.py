"""Parses a patch's value to the Envoy message of its `applyTo`, and imports the extension types that it names. Pure."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import extension_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from google.protobuf import json_format
from google.protobuf.message import Message

from sailcloth.api.envoy_filter import ConfigObjectMatch, EnvoyConfigObjectPatch
from sailcloth.api.meta import Key

_TYPES: dict[str, type[Message]] = {
    "LISTENER": listener_pb2.Listener,
    "FILTER_CHAIN": listener_components_pb2.FilterChain,
    "NETWORK_FILTER": listener_components_pb2.Filter,
    "LISTENER_FILTER": listener_components_pb2.ListenerFilter,
    "HTTP_FILTER": http_connection_manager_pb2.HttpFilter,
    "ROUTE_CONFIGURATION": route_pb2.RouteConfiguration,
    "VIRTUAL_HOST": route_components_pb2.VirtualHost,
    "HTTP_ROUTE": route_components_pb2.Route,
    "CLUSTER": cluster_pb2.Cluster,
    "EXTENSION_CONFIG": extension_pb2.TypedExtensionConfig,
}
_NO_MATCH = ConfigObjectMatch()
_URL = "type.googleapis.com/"


class PatchError(ValueError):
    """Why a patch cannot be applied; the message is for its author."""


@dataclass(frozen=True)
class Compiled:
    """One patch of an EnvoyFilter, ready to be applied."""

    key: Key
    index: int
    applies_to: str
    operation: str
    match: ConfigObjectMatch
    value: Message | None
    filter_class: str = ""

    @property
    def ident(self) -> tuple[Key, int]:
        return self.key, self.index


def compile_patch(key: Key, index: int, patch: EnvoyConfigObjectPatch) -> Compiled:
    """A patch with its value as a message. Raises PatchError."""
    applies_to = patch.apply_to or ""
    change = patch.patch
    operation = (change.operation if change else None) or ""
    kind = _TYPES.get(applies_to)
    if kind is None:
        raise PatchError(f"applyTo {applies_to or 'INVALID'} is not applied to running proxies")
    if operation in ("", "INVALID"):
        raise PatchError("patch.operation is missing")
    value = None
    if operation != "REMOVE":
        value = _message(kind, change.value if change else {})
    of_class = (change.filter_class if change else None) or ""
    return Compiled(key, index, applies_to, operation, patch.match or _NO_MATCH, value, of_class)


def _message(kind: type[Message], value: dict[str, Any]) -> Message:
    for name in type_urls(value):
        import_type(name)
    try:
        return json_format.ParseDict(value, kind())
    except (json_format.ParseError, TypeError, ValueError) as error:
        raise PatchError(f"patch.value: {' '.join(str(error).split())[:400]}") from None


def type_urls(value: Any) -> set[str]:
    """The type URLs of extensions in a configuration."""
    if isinstance(value, dict):
        urls = {value["@type"]} if isinstance(value.get("@type"), str) else set()
        return urls.union(*(type_urls(v) for v in value.values()))
    if isinstance(value, list):
        return set().union(*(type_urls(v) for v in value))
    return set()


def import_type(url: str) -> None:
    """Add a type to the descriptor pool by importing the module of its package that defines it. Raises PatchError."""
    package, _, name = url.rpartition("/")[2].rpartition(".")
    if url.startswith(_URL + "envoy.") and (".v2" in package or package.endswith("v2alpha")):
        raise PatchError(f"{url}: Envoy's version 2 interface is gone; use the version 3 type")
    if not package.startswith(("envoy.", "xds.", "udpa.", "google.")):
        raise PatchError(f"{url} is not a type of Envoy")
    try:
        package_module = importlib.import_module(package)
        for module in pkgutil.iter_modules(getattr(package_module, "__path__", ())):
            if module.name.endswith("_pb2"):
                message_module = importlib.import_module(f"{package}.{module.name}")
                if hasattr(message_module, name):
                    return
    except ImportError:
        pass
    raise PatchError(f"{url}: there is no such type in Envoy's interface")
