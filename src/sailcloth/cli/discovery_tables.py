"""Tables of `proxy-config eds` and `ecds`, and the roots that `rootca-compare` compares, from an Envoy's dump. Pure."""

from __future__ import annotations

from typing import Any

from sailcloth.analysis import proxy_tables

Object = dict[str, Any]
_ROOTS = "ROOTCA"


def eds(dump: Object, filters: Object) -> proxy_tables.Table:
    """A row for each endpoint that came by EDS, with its locality."""
    rows = []
    for cluster in proxy_tables.entries(dump, "endpoint", filters):
        for host in cluster.get("host_statuses", ()):
            place = host.get("locality") or {}
            locality = "/".join(p for n in ("region", "zone", "sub_zone") if (p := place.get(n)))
            socket = host.get("address", {}).get("socket_address", {})
            shown = f"{socket.get('address', '')}:{socket.get('port_value', '')}" if socket else ""
            name = shown or host.get("address", {}).get("pipe", {}).get("path", "")
            rows.append([name, proxy_tables.health(host), locality, cluster.get("name", "")])
    return ["NAME", "STATUS", "LOCALITY", "CLUSTER"], sorted(rows, key=lambda r: (r[3], r[0]))


def ecds(dump: Object) -> proxy_tables.Table:
    """A row for each extension configuration that came by ECDS."""
    rows = []
    for config in dump.get("configs", ()):
        if config.get("@type", "").endswith(".EcdsConfigDump"):
            for entry in config.get("ecds_filters", ()):
                found = entry.get("ecds_filter") or {}
                kind = (found.get("typed_config") or {}).get("@type", "").rpartition("/")[2]
                rows.append([found.get("name", ""), kind])
    return ["ECDS NAME", "TYPE"], sorted(rows)


def roots(dump: Object) -> str:
    """The roots of the mesh that an Envoy trusts, as its secret has them; empty for none."""
    secrets = proxy_tables.part(dump, "secret")
    for entry in secrets.get("dynamic_active_secrets", ()):
        if entry.get("name") == _ROOTS:
            source = entry.get("secret", {}).get("validation_context", {}).get("trusted_ca", {})
            return str(source.get("inline_bytes") or source.get("inline_string") or "")
    return ""
