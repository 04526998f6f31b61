"""As whom a container runs and what it may do: a security context, as far as one user's own rights reach.

Every process of a local cluster belongs, for the host, to the one who started it. Inside, another user's number is shown
through a user namespace of the container's own; what the network of a pod asks for can be granted, as that is the pod's
own; power over the host never. What is asked for and not given is named in `missing`. Source: the Kubernetes security context.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sailcloth.lib import namespaces as ns
from sailcloth.local.images import Image
from sailcloth.local.images.unpack import resolve

Object = dict[str, Any]
_GRANTED = {"NET_ADMIN": ns.CAP_NET_ADMIN, "NET_RAW": ns.CAP_NET_RAW, "NET_BIND_SERVICE": ns.CAP_NET_BIND_SERVICE}
_NOBODY_IN_PARTICULAR = 65532  # for programs whose real image has a user of its own, whose number is not known here


@dataclass
class Rights:
    """What a container is started with."""

    uid: int = 0
    gid: int = 0
    home: str = "/root"
    capabilities: list[int] = field(default_factory=list)
    read_only: bool = False
    missing: list[str] = field(default_factory=list)


def of(pod: Object, container: Object, image: Image) -> Rights:
    """The rights of a container. Raises ValueError if it may not run: as root though it must not, or as an unknown user."""
    shared, own = pod["spec"].get("securityContext") or {}, container.get("securityContext") or {}
    out = Rights(read_only=bool(own.get("readOnlyRootFilesystem")))
    users = _table(image, "passwd") if image.root else []
    name, _, group = image.user.partition(":")
    uid = own.get("runAsUser", shared.get("runAsUser"))
    must_not = own.get("runAsNonRoot", shared.get("runAsNonRoot"))
    if uid is None:
        uid = _number(name, users, image.user)
        if uid == 0 and must_not and not image.root:
            uid = _NOBODY_IN_PARTICULAR
    if uid == 0 and must_not:
        raise ValueError(
            "container has runAsNonRoot and image will run as root: set runAsUser, or leave runAsNonRoot out"
        )
    out.uid = int(uid)
    entry = next((u for u in users if u[2] == str(out.uid)), None)
    gid = own.get("runAsGroup", shared.get("runAsGroup"))
    if gid is None:
        gid = _number(group, _table(image, "group") if image.root else [], image.user) if group else 0
        if not group and entry is not None and entry[3].isdigit():
            gid = entry[3]
    out.gid = int(gid)
    if image.root:
        out.home = entry[5] if entry is not None and len(entry) > 5 and entry[5] else "/root" if not out.uid else "/"
    else:
        out.home = "/tmp"
    _capabilities(out, own)
    _beyond(out, shared, own)
    return out


def _capabilities(out: Rights, own: Object) -> None:
    wanted = own.get("capabilities") or {}
    dropped = {str(c).upper().removeprefix("CAP_") for c in wanted.get("drop") or ()}
    for name in (str(c).upper().removeprefix("CAP_") for c in wanted.get("add") or ()):
        if name == "ALL":
            out.capabilities += [number for n, number in _GRANTED.items() if n not in dropped]
            out.missing.append("all capabilities (only those of the pod's network are given)")
        elif name in dropped - {"ALL"} or (name == "NET_BIND_SERVICE" and out.uid):
            continue  # low ports are open to everyone in a pod
        elif name in _GRANTED and not out.uid:
            out.capabilities.append(_GRANTED[name])
        elif name in _GRANTED:
            out.missing.append(f"capability {name} of a user other than root")
        else:
            out.missing.append(f"capability {name}")


def _beyond(out: Rights, shared: Object, own: Object) -> None:
    if own.get("privileged"):
        out.missing.append("privileged")
    if shared.get("supplementalGroups"):
        out.missing.append("supplementalGroups")
    if shared.get("sysctls"):
        out.missing.append("sysctls " + ", ".join(str(s.get("name")) for s in shared["sysctls"]))
    for name in ("seccompProfile", "appArmorProfile"):
        if (own.get(name) or shared.get(name) or {}).get("type") == "Localhost":
            out.missing.append(f"{name} Localhost")
    if own.get("seLinuxOptions") or shared.get("seLinuxOptions"):
        out.missing.append("seLinuxOptions")


def _table(image: Image, name: str) -> list[list[str]]:
    """/etc/passwd or /etc/group of an image."""
    try:
        text = Path(resolve(image.root, f"etc/{name}")).read_text(errors="replace")
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
