"""Validates host names in the forms that Istio's API allows. Case-insensitive."""

from __future__ import annotations

import ipaddress
import re

from . import codes
from .report import Report

_LABEL = re.compile(r"[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?\Z")
_WILDCARD_LABEL = re.compile(r"(\*|(\*|\*-)?[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?)\Z")
_LONGEST, _LONGEST_LABEL = 255, 63
_FIX = "Write a DNS name such as reviews.default.svc.cluster.local."


def is_label(text: str) -> bool:
    """Whether a text is a DNS label: letters, digits and inner dashes, at most 63 characters."""
    return len(text) <= _LONGEST_LABEL and _LABEL.match(text) is not None


def is_ip(text: str) -> bool:
    """Whether a text is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def name_problem(host: str, wildcard: bool = True) -> str | None:
    """The error in a DNS name; None if it is valid. `wildcard`: the first label may start with `*`."""
    if not host:
        return "the host name is empty"
    if len(host) > _LONGEST:
        return f"the host name has {len(host)} characters, at most {_LONGEST} are allowed"
    first, dot, parent = host.partition(".")
    labels = parent.split(".") if dot else []
    if len(labels) > 1 and not labels[-1]:
        labels.pop()  # a trailing dot makes a name absolute
    pattern = _WILDCARD_LABEL if wildcard else _LABEL
    for label, form in [(first, pattern), *((label, _LABEL) for label in labels)]:
        if len(label) > _LONGEST_LABEL or not form.match(label):
            if "*" in label:
                where = "at the beginning" if wildcard else "nowhere"
                return f"domain name {host!r}: a wildcard is only allowed {where}"
            return f"domain name {host!r}: {label!r} is not a DNS label"
    if labels and labels[-1].isdigit():
        return f"domain name {host!r}: its last label must not be a number"
    return None


def check(report: Report, path: str, host: str, wildcard: bool = True, ip: bool = False) -> bool:
    """Report an invalid host; `ip`: addresses are allowed, too. Returns whether it is valid."""
    if ip and is_ip(host):
        return True
    problem = name_problem(host, wildcard)
    if problem is not None:
        report.error(codes.HOST, path, problem, _FIX)
    return problem is None


def is_partial_wildcard(host: str) -> bool:
    """Whether a wildcard matches a part of a label, as in `*bar.com`, which Envoy does not support everywhere."""
    return host.startswith("*") and len(host) > 1 and host[1] != "."


def scoped(report: Report, path: str, host: str, gateway: bool, internal: bool = False) -> None:
    """A host as `namespace/name` of Gateways (where the namespace is optional) and Sidecars.

    `internal`: a Gateway converted from the Gateway API, where the namespace `~` means none.
    """
    namespace, slash, name = host.partition("/")
    if not slash:
        if not gateway:
            report.error(
                codes.HOST, path, f"host {host!r} has no namespace", "Write namespace/dnsName, such as ./* or */*."
            )
            return
        namespace, name = "*", host
    if not namespace or not name:
        report.error(codes.HOST, path, f"host {host!r} lacks its namespace or its name", "Write namespace/dnsName.")
        return
    plain = namespace[1:] if not gateway and len(namespace) > 1 and namespace[0] == "~" else namespace
    allowed = ("*", ".", *(("~",) if internal or not gateway else ()))
    if plain not in allowed and not is_label(plain):
        text = f"{namespace!r} in host {host!r} is not a namespace"
        report.error(codes.NAMESPACE, path, text, f"Write {', '.join(allowed)} or the name of a namespace.")
    if gateway and is_ip(name):
        return
    if name == "*":
        return
    if "." not in name:
        text = f"short name {name!r} is not a full domain name"
        report.error(codes.HOST, path, text, "Write the full name, such as reviews.default.svc.cluster.local.")
    elif not check(report, path, name):
        return
    elif is_partial_wildcard(name):
        text = f"partial wildcard {name!r}: a wildcard must be a whole label"
        report.error(codes.HOST, path, text, f"Write *.{name.lstrip('*-').partition('.')[2]} or the full name.")


def overlaps(a: str, b: str) -> bool:
    """Whether both hosts match a common name."""
    if a.startswith("*") and b.startswith("*"):
        return a.endswith(b[1:]) or b.endswith(a[1:])
    if a.startswith("*"):
        return b.endswith(a[1:])
    if b.startswith("*"):
        return a.endswith(b[1:])
    return a == b


def covered(name: str, host: str) -> bool:
    """Whether `host` matches every name that `name` matches."""
    if host.startswith("*"):
        return (name[1:] if name.startswith("*") else name).endswith(host[1:])
    return name == host
