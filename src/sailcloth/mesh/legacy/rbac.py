"""ClusterRbacConfig, RbacConfig, ServiceRole and ServiceRoleBinding: what callers may do with services.

A covered service refuses what no binding of its namespace allows: an ALLOW policy for its workloads. They hold at sidecars only, and not
for a workload that an AuthorizationPolicy of today selects, as in Istio 1.4 (`features.authorization.policy` sees to both).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

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
from sailcloth.api.legacy_security import (
    AccessRule,
    ClusterRbacConfig,
    RbacConfig,
    RbacConfigSpec,
    RbacTarget,
    RoleConstraint,
    ServiceRole,
    ServiceRoleBinding,
    Subject,
)
from sailcloth.api.meta import Key, Object, Selector

from .service import Converted, LegacyService, metadata

PREFIX = "rbac/"
"""Of the names of generated AuthorizationPolicies."""
_GROUPS = "request.auth.claims[groups]"
_HEADERS = {
    ":path": "request.headers[:path]",
    ":method": "request.headers[:method]",
    ":authority": "request.headers[:authority]",
}
_PROPERTIES = (
    "source.ip", "source.namespace", "source.principal",
    "request.auth.principal", "request.auth.audiences", "request.auth.presenter",
)  # fmt: skip
_AS_IS = ("destination.ip", "destination.port", "connection.sni")
_AS_IS_PREFIXES = ("request.headers[", "experimental.envoy.filters.")

Labels = tuple[tuple[str, str], ...]


def convert(objects: Mapping[Key, Object], services: Sequence[LegacyService], converted: Converted) -> None:
    """Add what the configuration, roles and bindings stand for."""
    found = _config(objects, converted)
    roles = {key: obj for key, obj in objects.items() if isinstance(obj, ServiceRole)}
    bindings = sorted((key, obj) for key, obj in objects.items() if isinstance(obj, ServiceRoleBinding))
    for key, binding in bindings:
        if (name := _role_name(binding)) and Key("ServiceRole", key.namespace, name) not in roles:
            converted.note(key, f"there is no ServiceRole {name} in the namespace")
    if found is None or found[1].mode == "OFF":
        for key in (*roles, *(key for key, _ in bindings)):
            converted.note(key, "not enforced: no ClusterRbacConfig turns access control on")
        return
    config_key, config = found
    only_counted = config.enforcement_mode == "PERMISSIVE"
    for service in services:
        if not _covers(config, service):
            continue
        builder = _Builder(service, config_key, converted, only_counted)
        for key, binding in bindings:
            if key.namespace == service.namespace:
                builder.add(key, binding, roles)
        builder.build()


def _config(objects: Mapping[Key, Object], converted: Converted) -> tuple[Key, RbacConfigSpec] | None:
    """The configuration that holds: the cluster's, else the oldest RbacConfig."""
    chosen: tuple[Key, RbacConfigSpec] | None = None
    for kind in (ClusterRbacConfig, RbacConfig):
        of_kind = [(key, obj) for key, obj in objects.items() if isinstance(obj, kind)]
        for key, obj in sorted(of_kind, key=lambda item: (item[1].metadata.creation_timestamp or "", item[0])):
            if key.name != "default":
                converted.note(key, "ignored: it must be named default")
            elif chosen is not None:
                converted.note(key, f"ignored: {chosen[0]} holds")
            else:
                chosen = key, obj.spec
    return chosen


def _covers(config: RbacConfigSpec, service: LegacyService) -> bool:
    def names(target: RbacTarget | None) -> bool:
        return target is not None and (service.host in target.services or service.namespace in target.namespaces)

    match config.mode:
        case "ON":
            return True
        case "ON_WITH_INCLUSION":
            return names(config.inclusion)
        case "ON_WITH_EXCLUSION":
            return not names(config.exclusion)
        case _:
            return False


def _role_name(binding: ServiceRoleBinding) -> str:
    ref = binding.spec.role_ref
    return (ref.name if ref is not None else "") or binding.spec.role or ""


class _Builder:
    """Collects the rules of one service, by the labels that its workloads must have besides, and by whether they only count."""

    def __init__(self, service: LegacyService, config: Key, converted: Converted, only_counted: bool) -> None:
        self._service, self._config, self._converted, self._only_counted = service, config, converted, only_counted
        self._rules: dict[tuple[bool, Labels], list[Rule]] = {(only_counted, ()): []}
        self._sources: dict[tuple[bool, Labels], list[Key]] = {}

    def add(self, key: Key, binding: ServiceRoleBinding, roles: Mapping[Key, ServiceRole]) -> None:
        """Add what a binding allows."""
        counted = self._only_counted or binding.spec.mode == "PERMISSIVE"
        name = _role_name(binding)
        role_key = Key("ServiceRole", key.namespace, name)
        role = roles.get(role_key) if name else None
        rules = [(rule, [key, role_key]) for rule in (role.spec.rules if role is not None else ())]
        rules += [(rule, [key]) for rule in binding.spec.actions]
        for rule, sources in rules:
            if not any(_matches(pattern, self._service.host) for pattern in rule.services or ("*",)):
                continue
            for labels, conditions in self._constraints(rule.constraints, sources[-1]):
                place = counted, labels
                self._sources.setdefault(place, []).extend(sources)
                operation = _operation(rule)
                for subject in binding.spec.subjects:
                    source, more = _caller(subject, key, self._converted)
                    made = Rule(
                        from_=(From(source=source),) if source != Source() else (),
                        to=(To(operation=operation),) if operation != Operation() else (),
                        when=(*conditions, *more),
                    )
                    self._rules.setdefault(place, []).append(made)

    def build(self) -> None:
        """The policies of the service. The one for all its workloads is there even without a rule, and then refuses everything."""
        service = self._service
        for index, ((counted, labels), rules) in enumerate(sorted(self._rules.items(), key=lambda item: item[0])):
            name = f"{PREFIX}{service.name}" if index == 0 else f"{PREFIX}{service.name}/{index}"
            spec = AuthorizationPolicySpec(
                selector=Selector(match_labels={**service.selector, **dict(labels)}), action="ALLOW", rules=tuple(rules)
            )
            sources = [self._config, *self._sources.get((counted, labels), ())]
            made = metadata(service.namespace, name, sources, dry_run=counted)
            self._converted.objects[Key("AuthorizationPolicy", service.namespace, name)] = AuthorizationPolicy(
                metadata=made, spec=spec
            )

    def _constraints(
        self, constraints: Sequence[RoleConstraint], key: Key
    ) -> Iterator[tuple[Labels, tuple[Condition, ...]]]:
        """(labels of workloads, conditions on requests) of a rule's constraints, for each set of labels. Nothing if the service does
        not meet one, or if one cannot be said: the rule then allows nothing."""
        choices: list[Labels] = [()]
        conditions: list[Condition] = []
        for constraint in constraints:
            name, values = constraint.key, constraint.values
            own = {"destination.name": self._service.name, "destination.namespace": self._service.namespace}
            if name in own:
                if not any(_matches(value, own[name]) for value in values):
                    return
            elif name.startswith("destination.labels["):
                label = name.partition("[")[2].removesuffix("]")
                if any("*" in value for value in values):
                    self._converted.note(key, f"a rule allows nothing: {name} with a wildcard is not supported")
                    return
                choices = [tuple(sorted({**dict(c), label: v}.items())) for c in choices for v in values]
            elif name in _HEADERS or name in _AS_IS or name.startswith(_AS_IS_PREFIXES):
                conditions.append(Condition(key=_HEADERS.get(name, name), values=values))
            else:
                self._converted.note(key, f"a rule allows nothing: the constraint {name} is not supported")
                return
        selector = dict(self._service.selector)
        for choice in choices:
            if all(selector.get(label, value) == value for label, value in choice):
                yield tuple((label, value) for label, value in choice if label not in selector), tuple(conditions)


def _matches(pattern: str, text: str) -> bool:
    """Whether a text matches a pattern with a wildcard at one end."""
    if pattern.startswith("*"):
        return text.endswith(pattern[1:])
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern


def _operation(rule: AccessRule) -> Operation:
    return Operation(
        hosts=rule.hosts,
        not_hosts=rule.not_hosts,
        paths=rule.paths,
        not_paths=rule.not_paths,
        methods=rule.methods,
        not_methods=rule.not_methods,
        ports=tuple(str(port) for port in rule.ports),
        not_ports=tuple(str(port) for port in rule.not_ports),
    )


def _caller(subject: Subject, key: Key, converted: Converted) -> tuple[Source, tuple[Condition, ...]]:
    """The caller, and the conditions that a source of today has no field for."""
    conditions = []
    groups = [*subject.groups, *([subject.group] if subject.group else [])]
    if groups or subject.not_groups:
        conditions.append(Condition(key=_GROUPS, values=tuple(groups), not_values=subject.not_groups))
    if subject.user not in (None, "", "*"):
        conditions.append(Condition(key="source.principal", values=(subject.user,)))
    for name, value in sorted(subject.properties.items()):
        name = {"source.user": "source.principal"}.get(name, name)
        if name not in _PROPERTIES and not name.startswith(("request.auth.claims[", "request.headers[")):
            converted.note(key, f"a subject is nobody: the property {name} is not supported")
        conditions.append(Condition(key=name, values=(value,)))
    return Source(
        principals=subject.names,
        not_principals=subject.not_names,
        namespaces=subject.namespaces,
        not_namespaces=subject.not_namespaces,
        ip_blocks=subject.ips,
        not_ip_blocks=subject.not_ips,
    ), tuple(conditions)
