"""Debug pages over discovery: state-of-the-world requests for the types `istio.io/debug` and `istio.io/debug/…`, as istioctl sends
them. Such a request is answered once and subscribes to nothing. Source: istio.md 4.1.
"""

from __future__ import annotations

import json
import platform
from typing import Any

import orjson
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.status.v3 import csds_pb2
from google.protobuf import any_pb2, json_format

from sailcloth import __version__
from sailcloth.analysis import offline
from sailcloth.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES

from . import debug
from .connected_proxies import DEBUG, ConnectedProxies, ConnectedProxy

ISTIO_VERSION = "1.30.0"  # whose interfaces this control plane has
_STATUS = {"SYNCED": "SYNCED", "STALE": "STALE", "NOT SENT": "NOT_SENT", "ERROR": "ERROR"}
_TYPES = {"CDS": CLUSTER, "EDS": ENDPOINTS, "LDS": LISTENER, "RDS": ROUTES}


def build_info() -> dict[str, str]:
    """What `/version` answers, in Istio's form."""
    return {
        "version": ISTIO_VERSION,
        "revision": "sailcloth",
        "golang_version": f"python{platform.python_version()}",
        "sailcloth": __version__,
        "status": "Clean",
        "tag": ISTIO_VERSION,
    }


def respond(proxies: ConnectedProxies, name: str, allowed: str, type_url: str, names: list[str]) -> bytes:
    """A DiscoveryResponse with what a caller may see: `allowed` is a namespace, `*` for all. Raises ValueError for a request that
    cannot be answered."""
    clients = sorted(
        (c for c in proxies.clients.values() if allowed in ("*", c.proxy.namespace)), key=lambda c: c.proxy.id
    )
    page = type_url.removeprefix(DEBUG).strip("/")
    if page == "syncz":
        resources = [_packed(_client_config(c, name)) for c in clients]
    elif page == "config_dump":
        resources = _config_dump(clients, names)
    elif not page:
        resources = [_page(clients, name, names)]
    else:
        raise ValueError(f"unknown debug type {type_url}; known are syncz and config_dump")
    instance = {"Component": "istiod", "ID": name, "Info": build_info()}
    response = discovery_pb2.DiscoveryResponse(
        version_info="1",
        type_url=type_url,
        nonce="1",
        resources=resources,
        control_plane=base_pb2.ControlPlane(identifier=json.dumps(instance)),
    )
    return bytes(response.SerializeToString())


def _packed(message: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def _client_config(client: ConnectedProxy, name: str) -> Any:
    """A proxy's state, one entry for each type."""
    config = csds_pb2.ClientConfig(node=base_pb2.Node(id=client.proxy.id))
    row = debug.sync(client, name)
    metadata = {"CLUSTER_ID": row["cluster"], "ISTIO_VERSION": row["version"], "NAMESPACE": client.proxy.namespace}
    config.node.metadata.update(metadata)
    for short, url in _TYPES.items():
        config.generic_xds_configs.add(
            type_url=url,
            config_status=csds_pb2.ConfigStatus.Value(_STATUS[row["types"][short]]),
            error_state={"details": row["errors"][short]} if short in row["errors"] else None,
        )
    return config


def _config_dump(clients: list[ConnectedProxy], names: list[str]) -> list[any_pb2.Any]:
    from envoy.admin.v3 import config_dump_pb2

    stream = _client(clients, names).connection.stream
    dump = offline.config_dump({url: stream.resources_of(url) for url in stream.collections})
    message = json_format.ParseDict(dump, config_dump_pb2.ConfigDump(), ignore_unknown_fields=True)
    return list(message.configs)


def _page(clients: list[ConnectedProxy], name: str, names: list[str]) -> any_pb2.Any:
    """A page of the HTTP interface, by its name as the only resource name."""
    page = names[0].partition("?")[0] if len(names) == 1 else ""
    if page == "syncz":
        body: Any = [debug.sync(c, name) for c in clients]
    elif page == "connections":
        body = {"totalClients": len(clients), "clients": [{"connectionId": c.proxy.id} for c in clients]}
    elif page in ("", "list"):
        body = {"debug": ["/debug/syncz", "/debug/connections"]}
    else:
        raise ValueError(f"unknown page {page}; known over discovery are syncz and connections")
    return any_pb2.Any(type_url=DEBUG, value=orjson.dumps(body, option=orjson.OPT_INDENT_2))


def _client(clients: list[ConnectedProxy], names: list[str]) -> ConnectedProxy:
    wanted = names[0] if len(names) == 1 else ""
    for client in clients:
        if wanted and wanted in (client.proxy.id, f"{client.proxy.name}.{client.proxy.namespace}"):
            return client
    raise ValueError(f"no proxy {wanted or '(name one)'} is connected; name POD.NAMESPACE")
