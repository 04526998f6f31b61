"""Host names: completion of short names, wildcards and their precedence."""

from __future__ import annotations


def normalized(host: str) -> str:
    """A host for comparison: lower case, without a trailing dot."""
    host = host.lower()
    return host[:-1] if host.endswith(".") and "." in host[:-1] else host


def resolve(host: str, namespace: str, domain: str) -> str:
    """The full name of a host in an object: a name without dots is a service in the object's namespace.

    Other names (wildcards, addresses, names with dots) are only `normalized`. Source: Istio's host resolution.
    """
    host = normalized(host)
    if "." in host or host.startswith("*") or not host or ":" in host:
        return host
    return f"{host}.{namespace}.svc.{domain}"


def wildcards(host: str) -> tuple[str, ...]:
    """All wildcard patterns that cover a host, the most specific first: `a.b.c` -> `*.b.c`, `*.c`, `*`."""
    patterns = []
    name = host[2:] if host.startswith("*.") else host
    if host.startswith("*") and not host.startswith("*."):
        name = host[1:].lstrip(".")
    while "." in name:
        name = name.split(".", 1)[1]
        patterns.append("*." + name)
    patterns.append("*")
    return tuple(patterns)


def covers(pattern: str, host: str) -> bool:
    """Whether `pattern` matches every name that `host` matches; either may be a wildcard."""
    if pattern == host or pattern == "*":
        return True
    if not pattern.startswith("*"):
        return False
    suffix = pattern[1:]
    return (host[1:] if host.startswith("*") else host).endswith(suffix)


def overlaps(a: str, b: str) -> bool:
    """Whether both match a common name."""
    return covers(a, b) or covers(b, a)


def specificity(host: str) -> tuple[int, int, str]:
    """Sort key: exact names before wildcards, longer wildcards before shorter, then by name."""
    return (1 if host.startswith("*") else 0, -len(host), host)
