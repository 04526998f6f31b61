"""Resolves a container's security context: user, group, capabilities, read-only root. Source: Kubernetes' SecurityContext.

On the host every process of a local cluster runs as the user who started it. Inside a container, a user namespace maps that
user to the requested one. Capabilities over the pod's network can be granted, others cannot: `unsupported` lists them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sailcloth.lib import namespaces as ns
from sailcloth.local.images import Image, layers

Object = dict[str, Any]
_NETWORK_CAPABILITIES = {
    "NET_ADMIN": ns.CAP_NET_ADMIN,
    "NET_RAW": ns.CAP_NET_RAW,
    "NET_BIND_SERVICE": ns.CAP_NET_BIND_SERVICE,
}
_UNKNOWN_UID = 65532  # for built-in images, whose real USER is not known


@dataclass
class SecurityContext:
    """User, capabilities and root mode of a container."""

    uid: int = 0
    gid: int = 0
    home: str = "/root"
    capabilities: list[int] = field(default_factory=list)
    read_only: bool = False
    unsupported: list[str] = field(default_factory=list)


def resolve(pod: Object, container: Object, image: Image) -> SecurityContext:
    """Merge the contexts of pod and container. Raises ValueError for root with runAsNonRoot, and for an unknown user."""
    pod_context, container_context = pod["spec"].get("securityContext") or {}, container.get("securityContext") or {}
    out = SecurityContext(read_only=bool(container_context.get("readOnlyRootFilesystem")))
    users = _table(image, "passwd") if image.root else []
    name, _, group = image.user.partition(":")
    uid = container_context.get("runAsUser", pod_context.get("runAsUser"))
    must_not = container_context.get("runAsNonRoot", pod_context.get("runAsNonRoot"))
    if uid is None:
        uid = _number(name, users, image.user)
        if uid == 0 and must_not and not image.root:
            uid = _UNKNOWN_UID
    if uid == 0 and must_not:
        raise ValueError(
            "container has runAsNonRoot and image will run as root: set runAsUser, or leave runAsNonRoot out"
        )
    out.uid = int(uid)
    entry = next((u for u in users if u[2] == str(out.uid)), None)
    gid = container_context.get("runAsGroup", pod_context.get("runAsGroup"))
    if gid is None:
        gid = _number(group, _table(image, "group") if image.root else [], image.user) if group else 0
        if not group and entry is not None and entry[3].isdigit():
            gid = entry[3]
    out.gid = int(gid)
    if image.root:
        out.home = entry[5] if entry is not None and len(entry) > 5 and entry[5] else "/root" if not out.uid else "/"
    else:
        out.home = "/tmp"
    _capabilities(out, container_context)
    _unsupported(out, pod_context, container_context)
    return out


def _capabilities(out: SecurityContext, container_context: Object) -> None:
    wanted = container_context.get("capabilities") or {}
    dropped = {str(c).upper().removeprefix("CAP_") for c in wanted.get("drop") or ()}
    for name in (str(c).upper().removeprefix("CAP_") for c in wanted.get("add") or ()):
        if name == "ALL":
            out.capabilities += [number for n, number in _NETWORK_CAPABILITIES.items() if n not in dropped]
            out.unsupported.append("capability ALL (only those over the pod's network are granted)")
        elif name in dropped - {"ALL"} or (name == "NET_BIND_SERVICE" and out.uid):
            continue  # net.ipv4.ip_unprivileged_port_start is 0 in pods
        elif name in _NETWORK_CAPABILITIES and not out.uid:
            out.capabilities.append(_NETWORK_CAPABILITIES[name])
        elif name in _NETWORK_CAPABILITIES:
            out.unsupported.append(f"capability {name} of a user other than root")
        else:
            out.unsupported.append(f"capability {name}")


def _unsupported(out: SecurityContext, pod_context: Object, container_context: Object) -> None:
    if container_context.get("privileged"):
        out.unsupported.append("privileged")
    if pod_context.get("supplementalGroups"):
        out.unsupported.append("supplementalGroups")
    if pod_context.get("sysctls"):
        out.unsupported.append("sysctls " + ", ".join(str(s.get("name")) for s in pod_context["sysctls"]))
    for name in ("seccompProfile", "appArmorProfile"):
        if (container_context.get(name) or pod_context.get(name) or {}).get("type") == "Localhost":
            out.unsupported.append(f"{name} Localhost")
    if container_context.get("seLinuxOptions") or pod_context.get("seLinuxOptions"):
        out.unsupported.append("seLinuxOptions")


def _table(image: Image, name: str) -> list[list[str]]:
    """The entries of an image's /etc/passwd or /etc/group."""
    try:
        text = Path(layers.resolve(image.root, f"etc/{name}")).read_text(errors="replace")
    except (OSError, ValueError):
        return []
    return [
        entry
        for line in text.splitlines()
        if len(entry := line.split(":")) >= 4 or (name == "group" and len(entry) > 2)
    ]


def _number(name: str, table: list[list[str]], user: str) -> int:
    if not name or name == "root":
        return 0
    if name.isdigit():
        return int(name)
    for entry in table:
        if entry[0] == name and entry[2].isdigit():
            return int(entry[2])
    raise ValueError(f"the image's user {user!r} is not in its /etc/passwd or /etc/group: set runAsUser")
