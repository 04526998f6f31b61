"""Policies, roles and Mixer's rules of Istio 1.0 to 1.5: what the mesh makes of them live, as objects of users.

`mesh.legacy` has the meaning of these kinds; must not repeat it. The live objects follow Services that come and go, an object in a file
does not; and access control of today joins what the roles allowed. Both are losses.
"""

from __future__ import annotations

from collections.abc import Mapping

from sailcloth.api import kinds, mixer
from sailcloth.api.authorization_policy import AuthorizationPolicy
from sailcloth.api.gateway import Gateway
from sailcloth.api.legacy_security import ClusterRbacConfig, LegacyPolicy, MeshPolicy, RbacConfig
from sailcloth.api.meta import Key, Object
from sailcloth.api.peer_authentication import PeerAuthentication
from sailcloth.mesh.legacy import authentication, rbac
from sailcloth.mesh.legacy import mixer as mixer_rules
from sailcloth.mesh.legacy.service import SOURCES, Converted, LegacyService

from .documents import Document, Losses, Names, Scope, body_of, placed, services, typed

_MIXER = kinds.MIXER_KINDS[0].group
_KINDS = {(k.group, k.name) for k in kinds.LEGACY_KINDS}
_STORED = {name for name, _ in mixer.STORED}
_ACCESS = ("ClusterRbacConfig", "RbacConfig", "ServiceRole", "ServiceRoleBinding")
_LATER = "it holds for the Services of the input; a Service that is added later is not covered"
_OF_SERVICES = ("Policy", "MeshPolicy", "QuotaSpecBinding", *_ACCESS)


def convert(documents: list[Document], scope: Scope) -> list[Document]:
    """Replace all of them."""
    positions = {i for i, d in enumerate(documents) if (d.group, d.kind) in _KINDS}
    stored = {i for i, d in enumerate(documents) if d.group == _MIXER and d.kind in _STORED}
    if not positions | stored:
        return documents
    found = {i: _key(documents[i], scope) for i in sorted(positions)}
    parsed = dict(typed((documents[i] for i in found), scope))
    converted, known = _converted(parsed, documents, scope)
    losses = {key: Losses(key) for key in found.values()}
    for index, key in found.items():
        if key not in parsed:
            text = "the object is left out: a field does not have its type"
            losses[key].add("spec", text, f"See sailctl x validate -f for object {index + 1}.")
    for key, texts in converted.notes.items():
        for text in texts:
            losses.setdefault(key, Losses(key)).add("spec", text)
    _of_services(parsed, known, losses)
    _not_joined(parsed, documents, scope, losses)
    _levels_of_today(converted, documents, scope, losses)
    gone = [_stored(documents[i], scope) for i in sorted(stored)]
    new = _documents(
        converted, {documents[i].key(scope.namespace): documents[i] for i in found}, losses, documents, scope
    )
    return placed(documents, positions | stored, [*new, *gone])


def _key(document: Document, scope: Scope) -> Key:
    """The key as the mesh has it: without a namespace for kinds of the whole mesh."""
    kind = kinds.kind_of(document.body)
    key = document.key(scope.namespace)
    return key if kind is None or kind.namespaced else key._replace(namespace="")


def _converted(
    parsed: Mapping[Key, Object], documents: list[Document], scope: Scope
) -> tuple[Converted, list[LegacyService]]:
    known = [
        LegacyService.of(Key("Service", *where), service, scope.config.domain)
        for where, service in services(documents, scope).items()
        if service.spec.selector
    ]
    gateways = [obj.spec.selector for _, obj in typed(documents, scope) if isinstance(obj, Gateway)]
    sidecars = [service for service in known if not _of_gateway(service, gateways)]
    converted = Converted()
    authentication.convert(parsed, known, scope.config, converted)
    rbac.convert(parsed, sidecars, converted)  # roles never held at gateways
    mixer_rules.convert(parsed, known, scope.config, converted)
    return converted, known


def _of_gateway(service: LegacyService, selectors: list[dict[str, str]]) -> bool:
    """Whether a service is of gateways, which hold a Gateway of the input or have Istio's own label."""
    if str(service.selector.get("istio", "")).endswith(("ingressgateway", "egressgateway")):
        return True
    return any(selector and selector.items() <= service.selector.items() for selector in selectors)


def _of_services(parsed: Mapping[Key, Object], known: list[LegacyService], losses: dict[Key, Losses]) -> None:
    """The losses of objects that are about services: those of the input, and no later ones."""
    if not known:
        for key in parsed:
            if key.kind in _OF_SERVICES or key.kind == "rule":
                text = "nothing of it that is about a service is converted, because no Service is in the input"
                losses[key].add("spec", text, "Add the Services of the mesh to the input.")
        return
    for key, obj in parsed.items():
        if isinstance(obj, (LegacyPolicy, MeshPolicy)):
            for index, target in enumerate(obj.spec.targets):
                if not any(target.name in (s.name, s.host) and s.namespace == key.namespace for s in known):
                    text = f"the service {target.name} is not in the input, so nothing holds for it"
                    losses[key].add(f"spec.targets[{index}]", text, "Add its Service to the input.")
            if obj.spec.origins and not obj.spec.targets:
                losses[key].add("spec.origins", _LATER, "Give each new workload a RequestAuthentication.")
        elif isinstance(obj, (ClusterRbacConfig, RbacConfig)) and obj.spec.mode != "OFF":
            losses[key].add("spec.mode", _LATER, "Give each new workload an AuthorizationPolicy.")


def _not_joined(
    parsed: Mapping[Key, Object], documents: list[Document], scope: Scope, losses: dict[Key, Losses]
) -> None:
    """A workload with an AuthorizationPolicy was not under roles; today both allow."""
    own = [
        f"{key.namespace}/{key.name}"
        for key, obj in typed(documents, scope)
        if isinstance(obj, AuthorizationPolicy) and (obj.spec.action or "ALLOW") == "ALLOW"
    ]
    for key in parsed:
        if own and key.kind in ("ClusterRbacConfig", "RbacConfig"):
            text = f"workloads that an ALLOW policy of the input selects ({', '.join(own[:3])}) were not under roles, and now are too"
            losses[key].add("spec", text, "Delete the converted policies of these workloads.")


def _levels_of_today(converted: Converted, documents: list[Document], scope: Scope, losses: dict[Key, Losses]) -> None:
    """A PeerAuthentication of today wins over the Policy of its level: what that becomes is left out."""
    own = [(k, o) for k, o in typed(documents, scope) if isinstance(o, PeerAuthentication)]
    for key, obj in list(converted.objects.items()):
        if not isinstance(obj, PeerAuthentication):
            continue
        for other_key, other in own:
            labels, others = (
                one.spec.selector.match_labels if one.spec.selector is not None else {} for one in (obj, other)
            )
            if other_key.namespace != key.namespace or bool(labels) != bool(others):
                continue
            if labels == others:
                converted.objects.pop(key, None)
            elif all(labels.get(k, v) == v for k, v in others.items()):
                for source in sources_of(obj):
                    text = f"of the PeerAuthentication {other_key.name} of the input and the converted one, the older one holds"
                    losses[source].add("spec", text, "Keep one of them for workloads that both select.")


def _stored(document: Document, scope: Scope) -> Document:
    losses = Losses(document.key(scope.namespace))
    text = "the object is left out: Mixer's adapters and templates for telemetry are gone"
    losses.add("spec", text, "Use the kind Telemetry, and extensionProviders of the mesh options.")
    return Document({}, sources=(losses.key,), losses=tuple(losses.found))


def sources_of(obj: Object) -> tuple[Key, ...]:
    """The legacy objects that a generated object comes from."""
    return tuple(Key(*text.split("/", 2)) for text in obj.metadata.annotations[SOURCES].split(","))


def _documents(
    converted: Converted,
    originals: Mapping[Key, Document],
    losses: dict[Key, Losses],
    documents: list[Document],
    scope: Scope,
) -> list[Document]:
    """The generated objects under names that users can choose; losses are at the first object of their source."""
    names, pending = Names(documents, scope), dict(losses)
    out = []
    for key, obj in converted.objects.items():
        sources = sources_of(obj)
        listed = [
            d
            for k, d in originals.items()
            if k.kind in {s.kind for s in sources} and k.name in {s.name for s in sources}
        ]
        given = any(d.metadata.get("namespace") for d in listed) or key.namespace == scope.config.root_namespace
        namespace = scope.named(key.namespace, given).get("namespace")
        name = names.free(key.kind, key.namespace, key.name)
        own = [f for source in sources if source in pending for f in pending.pop(source).found]
        out.append(Document(body_of(obj, name, namespace), sources=sources, losses=tuple(own)))
    for key, rest in pending.items():
        if (rest.found or key.kind in _OF_SERVICES) and not any(key in d.sources for d in out):
            out.append(Document({}, sources=(key,), losses=tuple(rest.found)))
    return out
