"""Mixer's quotas, deniers and lists: rules that bind a handler to instances, converted to RateLimits and DENY policies.

A rule held wherever its condition did; what it says of the destination becomes a selector, what it says of the request a rule. Labels of
the caller are not known to a proxy, so a condition on them is not converted, and its status says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sailcloth.api.authorization_policy import (
    AuthorizationPolicy,
    AuthorizationPolicySpec,
    Condition,
    From,
    Operation,
    Rule,
    Source,
    To,
)
from sailcloth.api.meta import Key, Object, Selector, StringMatch, duration_ms
from sailcloth.api.mixer import MixerConfig
from sailcloth.api.rate_limit import Rate, RateLimit, RateLimitKey, RateLimitMatch, RateLimitRule, RateLimitSpec
from sailcloth.api.sidecar import WorkloadSelector
from sailcloth.mesh.model import MeshConfig

from . import expressions
from .expressions import Comparison
from .service import Converted, LegacyService, metadata

_SERVICE = ("destination.service", "destination.service.host", "destination.service.name")
_ALWAYS = ("context.protocol", "context.reporter.kind", "context.reporter.local")
_SOURCE = {
    "source.namespace": "namespaces",
    "source.principal": "principals",
    "source.user": "principals",
    "source.ip": "ip_blocks",
}
_OPERATION = {
    "request.path": "paths", "request.url_path": "paths", "request.method": "methods", "request.host": "hosts",
    "destination.port": "ports",
}  # fmt: skip


@dataclass
class _Place:
    """Where a rule holds: a namespace (empty: all), labels of workloads, and names of services (None: any)."""

    namespace: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    service: str | None = None


@dataclass(frozen=True)
class _Action:
    """One handler of a rule, with one of its instances. `adapter`: memquota, denier, …; `name`: the instance's own."""

    rule: Key
    adapter: str
    handler: Key
    settings: Mapping[str, Any]
    name: str
    instance: Mapping[str, Any]
    condition: tuple[Comparison, ...]


def convert(
    objects: Mapping[Key, Object], services: Sequence[LegacyService], config: MeshConfig, converted: Converted
) -> None:
    """Add what all rules stand for."""
    mixer = {key: obj for key, obj in objects.items() if isinstance(obj, MixerConfig)}
    if not mixer:
        return
    actions = list(_actions(mixer, converted))
    for index, action in enumerate(actions):
        if action.adapter in ("denier", "listchecker"):
            _deny(action, index, services, config, converted)
    quotas = [action for action in actions if action.adapter in ("memquota", "redisquota")]
    for key, obj in mixer.items():
        if key.kind == "QuotaSpecBinding":
            _limit(key, obj, mixer, quotas, services, converted)


# -- rules, handlers, instances -----------------------------------------------------------------


def _actions(mixer: Mapping[Key, MixerConfig], converted: Converted) -> Iterator[_Action]:
    for key, obj in sorted(mixer.items(), key=lambda item: item[0]):
        if key.kind != "rule":
            continue
        condition = expressions.conjunction(str(obj.spec.get("match") or ""))
        for entry in _list(obj.spec.get("actions")):
            handler = _named(
                str(entry.get("handler", "")),
                key.namespace,
                mixer,
                ("handler", "memquota", "redisquota", "denier", "listchecker"),
            )
            if handler is None:
                converted.note(
                    key, f"handler {entry.get('handler')} has no effect: it is not there, or of an adapter that is gone"
                )
                continue
            if condition is None:
                converted.note(key, "the condition is not converted: only comparisons joined by && can be")
                continue
            spec = mixer[handler].spec
            adapter = (
                str(spec.get("compiledAdapter") or spec.get("adapter") or "")
                if handler.kind == "handler"
                else handler.kind
            )
            settings = spec.get("params") if handler.kind == "handler" else spec
            for text in _texts(entry.get("instances")):
                found = _named(text, key.namespace, mixer, ("instance", "quota", "checknothing", "listentry"))
                body = mixer[found].spec if found is not None else {}
                params = body.get("params") if found is not None and found.kind == "instance" else body
                name = found.name if found is not None else text
                yield _Action(key, adapter, handler, _map(settings), name, _map(params), condition)


def _named(text: str, namespace: str, mixer: Mapping[Key, Any], kinds: Iterable[str]) -> Key | None:
    """The object of a reference: NAME, NAME.KIND, NAME.NAMESPACE or NAME.KIND.NAMESPACE."""
    name, *rest = text.split(".")
    for kind in kinds:
        own = [part for part in rest if part != kind]
        if len(own) <= 1 and (len(rest) - len(own) <= 1):
            key = Key(kind, own[0] if own else namespace, name)
            if key in mixer:
                return key
    return None


def _list(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(str(one) for one in value) if isinstance(value, list) else ()


def _map(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _placed(condition: Iterable[Comparison]) -> tuple[_Place, list[Comparison]] | None:
    """(where the condition holds, what it says of requests); None if it says of the destination what no selector can."""
    place, rest = _Place(), []
    for one in condition:
        label = expressions.key_of(one.attribute, "destination.labels")
        if one.attribute in _ALWAYS:
            continue
        if label is None and one.attribute != "destination.namespace" and one.attribute not in _SERVICE:
            rest.append(one)
            continue
        if one.negated or (label is not None and "*" in one.value):
            return None
        if label is not None:
            place.labels[label] = one.value
        elif one.attribute == "destination.namespace":
            place.namespace = one.value
        else:
            place.service = one.value
    return place, rest


# -- deniers and lists --------------------------------------------------------------------------


def _deny(
    action: _Action, index: int, services: Sequence[LegacyService], config: MeshConfig, converted: Converted
) -> None:
    placed = _placed(action.condition)
    if placed is None:
        converted.note(action.rule, "the condition on the destination is not converted")
        return
    place, comparisons = placed
    rule = _rule([(c.attribute, (c.value,), c.negated) for c in comparisons] + _listed(action, converted))
    if rule is None:
        converted.note(
            action.rule, "not converted: it reads an attribute that proxies do not know, such as labels of the caller"
        )
        return
    namespace = place.namespace or ("" if action.rule.namespace == config.root_namespace else action.rule.namespace)
    targets = [(namespace or config.root_namespace, place.labels)]
    if place.service is not None:
        own = (s for s in services if namespace in ("", s.namespace) and _is(place.service, s))
        targets = [(s.namespace, {**s.selector, **place.labels}) for s in own]
    for number, (where, labels) in enumerate(targets):
        name = f"mixer/{action.rule.name}/{index}.{number}"
        spec = AuthorizationPolicySpec(
            selector=Selector(match_labels=labels) if labels else None, action="DENY", rules=(rule,)
        )
        converted.objects[Key("AuthorizationPolicy", where, name)] = AuthorizationPolicy(
            metadata=metadata(where, name, [action.rule, action.handler]), spec=spec
        )


def _listed(action: _Action, converted: Converted) -> list[tuple[str, tuple[str, ...], bool]]:
    """What a list refuses, as (attribute, values, whether other values are meant)."""
    if action.adapter != "listchecker":
        return []
    settings = action.settings
    if settings.get("providerUrl"):
        converted.note(action.handler, "providerUrl has no effect: write the entries into overrides")
    entries = _texts(settings.get("overrides"))
    if str(settings.get("entryType", "STRINGS")) not in ("STRINGS", "IP_ADDRESSES") or not entries:
        return [("", (), False)]
    names = expressions.attributes(str(action.instance.get("value", "")))
    return [(names[0] if names else "", entries, not settings.get("blacklist"))]


def _is(text: str, service: LegacyService) -> bool:
    names = (service.name, service.host, f"{service.name}.{service.namespace}")
    return any(name.startswith(text[:-1]) if text.endswith("*") else name == text for name in names)


def _rule(conditions: Iterable[tuple[str, tuple[str, ...], bool]]) -> Rule | None:
    """A rule that all conditions (attribute, values, negated) together match; None if one cannot be said."""
    source: dict[str, tuple[str, ...]] = {}
    operation: dict[str, tuple[str, ...]] = {}
    when = []
    for attribute, values, negated in conditions:
        header = expressions.key_of(attribute, "request.headers")
        names = source if attribute in _SOURCE else operation
        name = _SOURCE.get(attribute) or _OPERATION.get(attribute)
        if header is not None:
            key = f"request.headers[{header}]"
            when.append(Condition(key=key, not_values=values) if negated else Condition(key=key, values=values))
            continue
        name = f"not_{name}" if name and negated else name
        if not name or name in names:
            return None
        names[name] = values
    return Rule(
        from_=(From(source=Source(**source)),) if source else (),
        to=(To(operation=Operation(**operation)),) if operation else (),
        when=tuple(when),
    )


# -- quotas -------------------------------------------------------------------------------------


def _limit(
    key: Key,
    binding: MixerConfig,
    mixer: Mapping[Key, MixerConfig],
    quotas: Sequence[_Action],
    services: Sequence[LegacyService],
    converted: Converted,
) -> None:
    """The limits of the services that a binding names."""
    for entry in _list(binding.spec.get("quotaSpecs")):
        spec_key = Key("QuotaSpec", str(entry.get("namespace") or key.namespace), str(entry.get("name", "")))
        spec = mixer.get(spec_key)
        if spec is None:
            converted.note(key, f"there is no QuotaSpec {spec_key.namespace}/{spec_key.name}")
            continue
        rules = _list(spec.spec.get("rules"))
        if any(rule.get("match") for rule in rules):
            converted.note(spec_key, "match has no effect: the limits hold for all requests")
        names = [str(one.get("quota", "")).split(".")[0] for rule in rules for one in _list(rule.get("quotas"))]
        for action in quotas:
            if action.name not in names:
                continue
            for service in services:
                if any(_bound(one, service, key.namespace) for one in _list(binding.spec.get("services"))):
                    _of_service(action, service, [key, spec_key, action.rule, action.handler], converted)


def _bound(entry: Mapping[str, Any], service: LegacyService, namespace: str) -> bool:
    if entry.get("service"):
        return entry["service"] == "*" or _is(str(entry["service"]), service)
    return entry.get("name") == service.name and str(entry.get("namespace") or namespace) == service.namespace


def _of_service(action: _Action, service: LegacyService, sources: list[Key], converted: Converted) -> None:
    placed = _placed(action.condition)
    match = _match(placed[1]) if placed is not None else None
    if placed is None or match is None:
        converted.note(action.rule, "the condition is not converted, so nothing is limited by it")
        return
    place, _ = placed
    here = place.namespace in ("", service.namespace) and (place.service is None or _is(place.service, service))
    if not here or any(service.selector.get(label, value) != value for label, value in place.labels.items()):
        return
    for quota in _list(action.settings.get("quotas")):
        if str(quota.get("name", "")).split(".")[0] != action.name:
            continue
        dimensions = _map(action.instance.get("dimensions"))
        amount = _amount(quota, dimensions, service, action, converted)
        if amount is None:
            converted.note(action.handler, f"quota {action.name}: maxAmount and validDuration are needed")
            continue
        rule = RateLimitRule(
            limit=amount,
            match=match if match != RateLimitMatch() else None,
            by=_by(dimensions, action, converted),
            scope="GLOBAL",
        )
        name = f"mixer/{action.rule.name}/{action.name}/{service.name}"
        selector = WorkloadSelector(labels={**service.selector, **place.labels})
        converted.objects[Key("RateLimit", service.namespace, name)] = RateLimit(
            metadata=metadata(service.namespace, name, sources),
            spec=RateLimitSpec(workload_selector=selector, http=(rule,)),
        )


def _match(comparisons: Iterable[Comparison]) -> RateLimitMatch | None:
    """The requests that are limited; None if they cannot be said."""
    path = method = None
    headers = {}
    for one in comparisons:
        if one.negated or one.value.startswith("*"):
            return None
        value = StringMatch(prefix=one.value[:-1]) if one.value.endswith("*") else StringMatch(exact=one.value)
        header = expressions.key_of(one.attribute, "request.headers")
        if header is not None:
            headers[header.lower()] = value
        elif one.attribute in ("request.path", "request.url_path"):
            path = value
        elif one.attribute == "request.method":
            method = value
        else:
            return None
    return RateLimitMatch(path=path, method=method, headers=headers)


def _amount(
    quota: Mapping[str, Any],
    dimensions: Mapping[str, Any],
    service: LegacyService,
    action: _Action,
    converted: Converted,
) -> Rate | None:
    """The limit of a service: of the first override for it, else the quota's own."""
    constants = {service.name, service.host, *service.selector.values()}
    for override in _list(quota.get("overrides")):
        wanted = _map(override.get("dimensions"))
        about = [expressions.attributes(str(dimensions.get(name, ""))) for name in wanted]
        if not all(names and names[0].startswith("destination.") for names in about):
            converted.note(action.handler, f"quota {action.name}: overrides for single callers have no effect")
        elif all(str(value) in constants for value in wanted.values()):
            return _rate(override)
    return _rate(quota)


def _rate(quota: Mapping[str, Any]) -> Rate | None:
    try:
        requests, per = int(quota["maxAmount"]), str(quota["validDuration"])
        return Rate(requests=requests, per=per) if requests > 0 and (duration_ms(per) or 0) >= 1 else None
    except (KeyError, ValueError, TypeError):
        return None


def _by(dimensions: Mapping[str, Any], action: _Action, converted: Converted) -> tuple[RateLimitKey, ...]:
    """What is counted separately. What is constant for a workload needs no key."""
    keys = []
    for name, text in sorted(dimensions.items()):
        attributes = expressions.attributes(str(text))
        first = attributes[0] if attributes else ""
        header = expressions.key_of(first, "request.headers")
        if header is not None:
            keys.append(RateLimitKey(header=header.lower()))
        elif first == "source.ip":
            keys.append(RateLimitKey(source_address=True))
        elif first and not first.startswith("destination."):
            converted.note(action.rule, f"dimension {name} is not told apart: proxies do not know {first}")
    return tuple(keys)
