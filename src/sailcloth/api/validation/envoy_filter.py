"""Validates EnvoyFilter: whether operation and match of each patch fit its applyTo. Must not evaluate Envoy's configuration."""

from __future__ import annotations

from sailcloth.api.envoy_filter import ConfigObjectMatch, EnvoyConfigObjectPatch, EnvoyFilter

from . import attachment, codes, labels, ports, regexes
from .report import Report

_LISTENER = ("LISTENER", "FILTER_CHAIN", "NETWORK_FILTER", "HTTP_FILTER", "LISTENER_FILTER")
_ROUTE = ("ROUTE_CONFIGURATION", "VIRTUAL_HOST", "HTTP_ROUTE")
_ORDERED = ("NETWORK_FILTER", "HTTP_FILTER", "HTTP_ROUTE", "LISTENER_FILTER", "FILTER_CHAIN")
_HCM = ("envoy.filters.network.http_connection_manager", "envoy.http_connection_manager")


def validate(report: Report, obj: EnvoyFilter) -> None:
    """Report all findings."""
    spec = obj.spec
    selector = spec.workload_selector
    labels.check_selector(report, "spec.workloadSelector", selector.labels if selector is not None else None)
    attachment.check_references(report, None, spec.target_refs, "workloadSelector" if selector is not None else "")
    for index, patch in enumerate(spec.config_patches):
        _patch(report, f"spec.configPatches[{index}]", patch)


def _patch(report: Report, path: str, config_patch: EnvoyConfigObjectPatch) -> None:
    target, patch, match = config_patch.apply_to or "INVALID", config_patch.patch, config_patch.match
    if target == "INVALID":
        text = "applyTo is missing"
        report.error(codes.REQUIRED, f"{path}.applyTo", text, "Give applyTo, such as HTTP_FILTER.")
    operation = (patch.operation if patch is not None else None) or "INVALID"
    if patch is None:
        report.error(codes.REQUIRED, f"{path}.patch", "the patch is missing", "Give operation and value.")
    elif operation == "INVALID":
        text = "the operation is missing"
        report.error(codes.REQUIRED, f"{path}.patch.operation", text, "Give an operation, such as MERGE.")
    elif operation != "REMOVE" and not patch.value:
        text = f"operation {operation} needs a value"
        report.error(codes.REQUIRED, f"{path}.patch.value", text, "Give the value.")
    if operation.startswith("INSERT_") and target not in (*_ORDERED, "INVALID"):
        text = f"{target} has no order, so INSERT operations do not apply"
        report.warning(codes.NO_EFFECT, f"{path}.patch.operation", text, "Use ADD or MERGE.")
    if match is not None:
        _match(report, f"{path}.match", match, target)


def _match(report: Report, path: str, match: ConfigObjectMatch, target: str) -> None:
    places = {
        "listener": match.listener,
        "routeConfiguration": match.route_configuration,
        "cluster": match.cluster,
        "waypoint": match.waypoint,
    }
    set_fields = [name for name, value in places.items() if value is not None]
    if len(set_fields) > 1:
        report.error(codes.CONFLICT, path, f"{' and '.join(set_fields)} are mutually exclusive", "Keep one of them.")
    field = "listener" if target in _LISTENER else "routeConfiguration" if target in _ROUTE else "cluster"
    for name in set_fields:
        if name == "waypoint":
            if match.context != "WAYPOINT":
                text = "a waypoint match needs the context WAYPOINT"
                report.error(codes.CONFLICT, path, text, "Set context to WAYPOINT.")
        elif target in (*_LISTENER, *_ROUTE, "CLUSTER") and name != field:
            text = f"applyTo {target} cannot be matched by {name}"
            report.error(codes.CONFLICT, f"{path}.{name}", text, f"Match {field} instead.")
    version = match.proxy.proxy_version if match.proxy is not None else None
    if version and (problem := regexes.problem(version)):
        report.error(codes.REGEX, f"{path}.proxy.proxyVersion", problem, "Write it as ^1\\.2.*.")
    if match.waypoint is not None and match.waypoint.port_number is not None:
        ports.check_number(report, f"{path}.waypoint.portNumber", match.waypoint.port_number)
    chain = match.listener.filter_chain if match.listener is not None else None
    if chain is None or chain.filter is None:
        return
    at = f"{path}.listener.filterChain.filter"
    if target in ("LISTENER", "FILTER_CHAIN"):
        text = f"applyTo {target} does not match filters"
        report.warning(codes.NO_EFFECT, at, text, "Remove it, or use NETWORK_FILTER.")
    if not chain.filter.name:
        text = "the filter to match has no name"
        report.error(codes.REQUIRED, f"{at}.name", text, f"Give it, such as {_HCM[0]}.")
    if chain.filter.sub_filter is None:
        return
    if target == "HTTP_FILTER" and chain.filter.name and chain.filter.name not in _HCM:
        text = f"HTTP filters are in {_HCM[0]}, not in {chain.filter.name}"
        report.error(codes.CONFLICT, f"{at}.name", text, f"Write {_HCM[0]}.")
    elif target not in ("HTTP_FILTER", "INVALID"):
        text = "subFilter applies to applyTo HTTP_FILTER only"
        report.error(codes.CONFLICT, f"{at}.subFilter", text, "Remove it, or use HTTP_FILTER.")
