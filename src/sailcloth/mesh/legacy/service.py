"""What conversions of legacy kinds share: the services that they are about, and what comes out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sailcloth.api import core
from sailcloth.api.meta import Key, Object, ObjectMeta

SOURCES = "sailcloth.io/converted-from"
"""Annotation of generated objects: the keys of the objects they come from, `kind/namespace/name` by comma."""
_LATEST = "9999-12-31T23:59:59Z"  # a user's own object of today's kinds is older, so it wins where the oldest does


@dataclass(frozen=True)
class LegacyService:
    """A service with a selector. `ports`: (number, name, target) of each."""

    namespace: str
    name: str
    host: str
    selector: Mapping[str, str]
    ports: tuple[tuple[int, str, int | str], ...]

    @classmethod
    def of(cls, key: Key, obj: core.Service, domain: str) -> LegacyService:
        ports = tuple((p.port, p.name, p.target_port or p.port) for p in obj.spec.ports)
        return cls(key.namespace, key.name, f"{key.name}.{key.namespace}.svc.{domain}", obj.spec.selector, ports)


@dataclass
class Converted:
    """The generated objects, and notes on legacy objects that are not converted as they say."""

    objects: dict[Key, Object] = field(default_factory=dict)
    notes: dict[Key, list[str]] = field(default_factory=dict)

    def note(self, key: Key, text: str) -> None:
        """Say once what of an object does not hold."""
        texts = self.notes.setdefault(key, [])
        if text not in texts:
            texts.append(text)


def metadata(namespace: str, name: str, sources: Iterable[Key], dry_run: bool = False) -> ObjectMeta:
    """Metadata of a generated object."""
    annotations = {SOURCES: ",".join(f"{k.kind}/{k.namespace}/{k.name}" for k in sorted(set(sources)))}
    annotations |= {"istio.io/dry-run": "true"} if dry_run else {}
    return ObjectMeta(name=name, namespace=namespace, creation_timestamp=_LATEST, annotations=annotations)


def sources(key: Key, obj: Object) -> tuple[Key, ...]:
    """The objects of users that an object stands for: itself, or those that it was converted from."""
    listed = obj.metadata.annotations.get(SOURCES)
    if not listed or "/" not in key.name:
        return (key,)
    return tuple(Key(*text.split("/", 2)) for text in listed.split(","))
