"""Host names: completion of short names, wildcards and their order of precedence."""

from __future__ import annotations


def normalized(host: str) -> str:
    """A host as it is compared: in small letters, and without the dot that ends an absolute name."""
    host = host.lower()
    return host[:-1] if host.endswith(".") and "." in host[:-1] else host


def resolve(host: str, namespace: str, domain: str) -> str:
    """The full name of a host as users write it: a name without dots belongs to the object's own namespace.

    Source: Istio's host resolution; wildcards, addresses and dotted names stay as they are, but for `normalized`.
    """
    host = normalized(host)
    if "." in host or host.startswith("*") or not host or ":" in host:
        return host
    return f"{host}.{namespace}.svc.{domain}"


def wildcards(host: str) -> tuple[str, ...]:
    """All wildcard patterns that cover a host, the most specific first: `a.b.c` -> `*.b.c`, `*.c`, `*`."""
    out = []
    rest = host[2:] if host.startswith("*.") else host
    if host.startswith("*") and not host.startswith("*."):
        rest = host[1:].lstrip(".")
    while "." in rest:
        rest = rest.split(".", 1)[1]
        out.append("*." + rest)
    out.append("*")
    return tuple(out)


def covers(pattern: str, host: str) -> bool:
    """Whether every name that `host` stands for is matched by `pattern`; either may be a wildcard."""
    if pattern == host or pattern == "*":
        return True
    if not pattern.startswith("*"):
        return False
    suffix = pattern[1:]
    return (host[1:] if host.startswith("*") else host).endswith(suffix)


def overlaps(a: str, b: str) -> bool:
    """Whether some name is matched by both."""
    return covers(a, b) or covers(b, a)


def specificity(host: str) -> tuple[int, int, str]:
    """Sort key: exact names before wildcards, longer wildcards before shorter, then by name."""
    return (1 if host.startswith("*") else 0, -len(host), host)
