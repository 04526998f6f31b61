"""Validates HTTP rules of a VirtualService, and destinations, which all kinds of rules have."""

from __future__ import annotations

from sailcloth.api.meta import StringMatch
from sailcloth.api.virtual_service import Destination, HTTPMatchRequest, HTTPRoute

from . import amounts, codes, durations, hosts, http, labels, ports, regexes, traffic_shaping, visibility
from .report import Report

_CLAIMS = "@request.auth.claims"
_REDIRECTS = (301, 302, 303, 307, 308)
_LARGEST_BODY, _LARGE_BODY = 1_000_000, 100_000


def check(report: Report, path: str, rule: HTTPRoute, delegate: bool, at_gateway: bool) -> None:
    """One HTTP rule. `delegate`: the VirtualService has no hosts; `at_gateway`: it is bound to a Gateway."""
    _actions(report, path, rule, delegate)
    for index, match in enumerate(rule.match):
        _match(report, f"{path}.match[{index}]", match, delegate or rule.delegate is not None, at_gateway)
    for index, destination in enumerate(rule.route):
        check_destination(report, f"{path}.route[{index}].destination", destination.destination)
        http.check_headers(report, f"{path}.route[{index}].headers", destination.headers)
    amounts.check_weights(report, f"{path}.route", [d.weight for d in rule.route])
    durations.check(report, f"{path}.timeout", rule.timeout, zero=True)
    http.check_headers(report, f"{path}.headers", rule.headers)
    _redirect(report, path, rule)
    _direct_response(report, path, rule)
    _rewrite(report, path, rule)
    _mirrors(report, path, rule)
    traffic_shaping.check(report, path, rule)


def _actions(report: Report, path: str, rule: HTTPRoute, delegate: bool) -> None:
    """Exactly one of route, redirect, directResponse and delegate; the last three allow no most else."""
    actions = [
        name
        for name, value in (
            ("route", rule.route or None),
            ("redirect", rule.redirect),
            ("directResponse", rule.direct_response),
            ("delegate", rule.delegate),
        )
        if value is not None
    ]
    if not actions:
        report.error(codes.REQUIRED, path, "the rule does nothing", "Give route, redirect or directResponse.")
    elif len(actions) > 1:
        report.error(codes.CONFLICT, path, f"{' and '.join(actions)} are mutually exclusive", "Keep one of them.")
    for name, value in (("fault", rule.fault), ("rewrite", rule.rewrite)):
        if value is not None and not rule.route and actions and actions[0] in ("redirect", "directResponse"):
            text = f"{name} and {actions[0]} are mutually exclusive"
            report.error(codes.CONFLICT, f"{path}.{name}", text, f"Remove {name}.")
    if rule.delegate is None:
        return
    if delegate:
        text = "a VirtualService without hosts (a delegate) cannot delegate"
        report.error(codes.CONFLICT, f"{path}.delegate", text, "Write the rules here.")
    if not rule.delegate.name:
        text = "the delegate has no name"
        report.error(codes.REQUIRED, f"{path}.delegate.name", text, "Name the VirtualService that has the rules.")
    elif not all(hosts.is_label(p) for p in rule.delegate.name.split(".")):
        text = f"{rule.delegate.name!r} is not the name of a VirtualService"
        report.error(codes.NAME, f"{path}.delegate.name", text, "Give the name of a VirtualService.")
    if rule.delegate.namespace and not hosts.is_label(rule.delegate.namespace):
        text = f"{rule.delegate.namespace!r} is not a namespace"
        report.error(codes.NAMESPACE, f"{path}.delegate.namespace", text, "Give the name of a namespace.")


def _match(report: Report, path: str, match: HTTPMatchRequest, shared: bool, at_gateway: bool) -> None:
    """A match. `shared`: the rule has a delegate or belongs to one; regular expressions of the two cannot be merged."""
    http.check_match(report, f"{path}.uri", match.uri, empty_prefix=True)
    for name in ("scheme", "method", "authority"):
        http.check_match(report, f"{path}.{name}", getattr(match, name))
    for field, header_matches in (("headers", match.headers), ("withoutHeaders", match.without_headers)):
        for name in header_matches:
            if not name.startswith(_CLAIMS):
                http.check_header(report, f"{path}.{field}", name, pseudo=True)
            elif not at_gateway and not any(g != "mesh" for g in match.gateways):
                text = f"{name}: JWT claims can only be matched at gateways"
                report.error(codes.CONFLICT, f"{path}.{field}", text, "Set gateways to a Gateway.")
    for field, matches in (
        ("headers", match.headers),
        ("withoutHeaders", match.without_headers),
        ("queryParams", match.query_params),
    ):
        http.check_matches(report, f"{path}.{field}", matches)
    if shared:
        _no_regexes(report, path, match)
    if match.port:
        ports.check_number(report, f"{path}.port", match.port)
    labels.check(report, f"{path}.sourceLabels", match.source_labels)
    if match.source_namespace and not hosts.is_label(match.source_namespace):
        text = f"{match.source_namespace!r} is not a namespace"
        report.error(codes.NAMESPACE, f"{path}.sourceNamespace", text, "Give the name of a namespace.")
    visibility.check_gateways(report, f"{path}.gateways", match.gateways)


def _no_regexes(report: Report, path: str, match: HTTPMatchRequest) -> None:
    matches: list[tuple[str, StringMatch | None]] = [
        (n, getattr(match, n)) for n in ("uri", "scheme", "method", "authority")
    ]
    matches += [(f"headers.{n}", m) for n, m in match.headers.items()]
    matches += [(f"withoutHeaders.{n}", m) for n, m in match.without_headers.items()]
    matches += [(f"queryParams.{n}", m) for n, m in match.query_params.items()]
    for name, string_match in matches:
        if string_match is not None and string_match.regex is not None:
            text = "a rule with a delegate, or of a delegate, cannot match regular expressions"
            report.error(codes.CONFLICT, f"{path}.{name}.regex", text, "Use exact or prefix.")


def check_destination(report: Report, path: str, destination: Destination) -> None:
    """Host, subset and port."""
    if not destination.host:
        report.error(codes.REQUIRED, f"{path}.host", "the destination has no host", "Name a service.")
    elif destination.host == "*":
        report.error(codes.HOST, f"{path}.host", "'*' is not a destination", "Name a service.")
    else:
        hosts.check(report, f"{path}.host", destination.host)
    if destination.subset is not None:
        check_subset(report, f"{path}.subset", destination.subset)
    if destination.port is not None:
        ports.check_number(report, f"{path}.port.number", destination.port.number or 0)


def check_subset(report: Report, path: str, name: str) -> None:
    """A subset name: one DNS label. Empty in a destination means none."""
    if name and not hosts.is_label(name):
        report.error(codes.NAME, path, f"subset name {name!r} is not a DNS label", "Use letters, digits and dashes.")


def _redirect(report: Report, path: str, rule: HTTPRoute) -> None:
    redirect = rule.redirect
    if redirect is None:
        return
    at = f"{path}.redirect"
    if redirect.redirect_code and redirect.redirect_code not in _REDIRECTS:
        text = f"status {redirect.redirect_code} is not a redirect status"
        report.error(codes.CHOICE, f"{at}.redirectCode", text, f"Use one of {', '.join(map(str, _REDIRECTS))}.")
    http.check_line(report, f"{at}.uri", redirect.uri)
    http.check_line(report, f"{at}.authority", redirect.authority)
    http.check_line(report, f"{at}.prefixRewrite", redirect.prefix_rewrite)
    if redirect.uri and redirect.prefix_rewrite is not None:
        report.error(codes.CONFLICT, at, "uri and prefixRewrite are mutually exclusive", "Keep one of them.")
    if redirect.prefix_rewrite is not None and any(m.uri is not None and m.uri.regex is not None for m in rule.match):
        text = "a regex match has no prefix that prefixRewrite could replace"
        report.error(codes.CONFLICT, f"{at}.prefixRewrite", text, "Match a prefix, or redirect to a uri.")
    if redirect.port:
        ports.check_number(report, f"{at}.port", redirect.port)
    if redirect.port and redirect.derive_port:
        report.error(codes.CONFLICT, at, "port and derivePort are mutually exclusive", "Keep one of them.")
    if redirect.scheme and redirect.scheme not in ("http", "https"):
        text = f"scheme {redirect.scheme!r} is not supported"
        report.error(codes.CHOICE, f"{at}.scheme", text, "Use http or https.")
    if redirect.derive_port not in (None, "", "FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"):
        text = f"{redirect.derive_port!r} is not supported"
        report.error(codes.CHOICE, f"{at}.derivePort", text, "Use FROM_PROTOCOL_DEFAULT or FROM_REQUEST_PORT.")


def _direct_response(report: Report, path: str, rule: HTTPRoute) -> None:
    response = rule.direct_response
    if response is None:
        return
    at = f"{path}.directResponse"
    http.check_status(report, f"{at}.status", response.status)
    body = response.body
    if body is None:
        return
    if body.string is not None and body.bytes is not None:
        report.error(codes.CONFLICT, f"{at}.body", "string and bytes are mutually exclusive", "Keep one of them.")
    size = len(body.string.encode(errors="replace")) if body.string is not None else len(body.bytes or "") * 3 // 4
    if size > _LARGEST_BODY:
        report.error(codes.SIZE, f"{at}.body", f"the body has {size} bytes, at most 1 MB is allowed", "Shorten it.")
    elif size > _LARGE_BODY:
        text = f"the body has {size} bytes; every proxy keeps it in memory"
        report.warning(codes.SIZE, f"{at}.body", text, "Serve bodies of more than 100 kB from a service.")


def _rewrite(report: Report, path: str, rule: HTTPRoute) -> None:
    rewrite, at = rule.rewrite, f"{path}.rewrite"
    if rewrite is None:
        return
    if not (rewrite.uri or rewrite.authority or rewrite.uri_regex_rewrite):
        report.error(codes.REQUIRED, at, "the rewrite changes nothing", "Give uri, uriRegexRewrite or authority.")
    http.check_line(report, f"{at}.uri", rewrite.uri)
    http.check_line(report, f"{at}.authority", rewrite.authority)
    written = _authority_headers(rule)
    if rewrite.authority and written:
        text = f"the authority is written by the rewrite and by headers ({written[0]})"
        report.error(codes.CONFLICT, f"{at}.authority", text, "Keep one of them.")
    regex = rewrite.uri_regex_rewrite
    if regex is None:
        return
    http.check_line(report, f"{at}.uriRegexRewrite.rewrite", regex.rewrite)
    if rewrite.uri:
        report.error(codes.CONFLICT, at, "uri and uriRegexRewrite are mutually exclusive", "Keep one of them.")
    if not regex.match or not regex.rewrite:
        text = "a regular expression and its replacement are both needed"
        report.error(codes.REQUIRED, f"{at}.uriRegexRewrite", text, "Give match and rewrite.")
    group = regexes.missing_group(regex.match or "", regex.rewrite or "")
    if group is not None:
        text = f"\\{group} is no group of {regex.match!r}"
        report.error(codes.REGEX, f"{at}.uriRegexRewrite.rewrite", text, "Put what is meant into parentheses.")
    if regexes.lone_backslash(regex.rewrite or ""):
        text = "a backslash stands before something else than the number of a group, so that nothing is replaced"
        report.error(codes.REGEX, f"{at}.uriRegexRewrite.rewrite", text, "Write two for a backslash.")
    problem = regexes.problem(regex.match) if regex.match else None
    if problem:
        report.error(codes.REGEX, f"{at}.uriRegexRewrite.match", problem, http.SYNTAX)


def _authority_headers(rule: HTTPRoute) -> list[str]:
    """Headers of a rule that write the authority."""
    operations = rule.headers.request if rule.headers is not None else None
    names = (*operations.set, *operations.add) if operations is not None else ()
    return [name for name in names if name.lower() in ("host", ":authority")]


def _mirrors(report: Report, path: str, rule: HTTPRoute) -> None:
    if rule.mirror is not None and rule.mirrors:
        report.error(codes.CONFLICT, path, "mirror and mirrors are mutually exclusive", "Move mirror into mirrors.")
    if rule.mirror is not None:
        check_destination(report, f"{path}.mirror", rule.mirror)
    amounts.check_percent(report, f"{path}.mirrorPercentage", rule.mirror_percentage)
    for name, percent in (("mirrorPercent", rule.mirror_percent), ("mirror_percent", rule.mirror_percent_deprecated)):
        if percent is not None and not 0 <= percent <= 100:
            report.error(codes.RANGE, f"{path}.{name}", f"{percent} is not in the range 0-100", "Give 0 to 100.")
    for index, mirror in enumerate(rule.mirrors):
        check_destination(report, f"{path}.mirrors[{index}].destination", mirror.destination)
        amounts.check_percent(report, f"{path}.mirrors[{index}].percentage", mirror.percentage)
