"""Debug pages over discovery: state-of-the-world requests for the types `istio.io/debug` (a page by resource name, such as
`edsz?proxyID=a.b`) and `istio.io/debug/PAGE`, as istioctl sends them. Such a request is answered once and subscribes to nothing. Source: istio.md 4.1.
"""

from __future__ import annotations

import json
import platform
from typing import Any
from urllib.parse import parse_qsl

import orjson
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.status.v3 import csds_pb2
from google.protobuf import any_pb2, json_format

from sailcloth import __version__
from sailcloth.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES

from . import debug_pages
from .connected_proxies import DEBUG, DEBUG_NONCE, ConnectedProxy
from .debug_pages import DebugPages

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


def respond(pages: DebugPages, allowed: str, type_url: str, names: list[str]) -> bytes:
    """A DiscoveryResponse with what a caller may see: `allowed` is a namespace, `*` for all. Raises ValueError for a request that
    cannot be answered."""
    page = type_url.removeprefix(DEBUG).strip("/")
    try:
        if page == "syncz":
            resources = [_packed(_client_config(c, pages.name)) for c in pages.clients(allowed)]
        elif page == "config_dump":
            resources = _config_dump(pages, names, allowed)
        else:
            resources = [_page(pages, page, names, allowed)]
    except (LookupError, PermissionError) as error:
        raise ValueError(str(error.args[0])) from None
    instance = {"Component": "istiod", "ID": pages.name, "Info": build_info()}
    response = discovery_pb2.DiscoveryResponse(
        version_info="1",
        type_url=type_url,
        nonce=DEBUG_NONCE,
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
    row = debug_pages.sync(client, name)
    metadata = {"CLUSTER_ID": row["cluster"], "ISTIO_VERSION": row["version"], "NAMESPACE": client.proxy.namespace}
    config.node.metadata.update(metadata)
    for short, url in _TYPES.items():
        config.generic_xds_configs.add(
            type_url=url,
            config_status=csds_pb2.ConfigStatus.Value(_STATUS[row["types"][short]]),
            error_state={"details": row["errors"][short]} if short in row["errors"] else None,
        )
    return config


def _config_dump(pages: DebugPages, names: list[str], allowed: str) -> list[any_pb2.Any]:
    from envoy.admin.v3 import config_dump_pb2

    dump = pages.answer("config_dump", {"proxyID": names[0] if len(names) == 1 else ""}, allowed)
    message = json_format.ParseDict(dump, config_dump_pb2.ConfigDump(), ignore_unknown_fields=True)
    return list(message.configs)


def _page(pages: DebugPages, page: str, names: list[str], allowed: str) -> any_pb2.Any:
    """A page of the HTTP interface, named by the type, or with its query by the only resource name."""
    name, _, query = (names[0] if len(names) == 1 else "").partition("?")
    value = pages.answer(page or name or "list", dict(parse_qsl(query or (name if page else ""))), allowed)
    body = value.encode() if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_INDENT_2)
    return any_pb2.Any(type_url=DEBUG, value=body)
