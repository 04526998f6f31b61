"""EnvoyFilters: operations that Envoy's configuration does not have there, and patches that depend on the order of others."""

from __future__ import annotations

from collections.abc import Iterator

from sailcloth.api.meta import Finding

from . import unstructured
from .catalogue import finding
from .context import Context, Document

_RELATIVE = ("INSERT_BEFORE", "INSERT_AFTER", "REPLACE", "MERGE", "REMOVE")
_ROUTES = ("ROUTE_CONFIGURATION", "HTTP_ROUTE")
_REPLACEABLE = ("HTTP_FILTER", "NETWORK_FILTER", "VIRTUAL_HOST")
_PRIORITY = "Set spec.priority, or use INSERT_FIRST or ADD."


def patches(context: Context, one: Document) -> Iterator[Finding]:
    """The findings of all patches, each code once for an object, as istioctl prints it: their texts name no patch."""
    reported: set[str] = set()
    for index, patch in unstructured.objects(one.spec, "configPatches"):
        at = f"spec.configPatches[{index}].patch.operation"
        for code, fix in _codes(patch, unstructured.number(one.spec, "priority")):
            if code not in reported:
                reported.add(code)
                yield finding(code, one.key, at, fix=fix)


def _codes(patch: dict[str, object], priority: int) -> Iterator[tuple[str, str]]:
    """(code, fix) of one patch."""
    target, operation = unstructured.text(patch, "applyTo"), unstructured.text(patch, "patch", "operation")
    if operation == "ADD" and target in _ROUTES:
        yield "IST0153", "Patch the virtual host or the route with MERGE."
    elif operation == "REMOVE" and target in _ROUTES:
        yield "IST0154", ""
    elif operation == "REPLACE" and target not in _REPLACEABLE:
        yield "IST0152", ""
    elif operation in _RELATIVE and not priority:
        # MERGE changes what is there whatever the order, except between versions of the proxy.
        if operation != "MERGE":
            yield "IST0151", _PRIORITY
        if unstructured.text(patch, "match", "proxy", "proxyVersion"):
            yield "IST0155", _PRIORITY
