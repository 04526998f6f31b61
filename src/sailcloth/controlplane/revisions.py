"""Which objects this revision of the control plane reads, and which ones it writes statuses of.

An object with the label `istio.io/rev` concerns the revision that it names, by the revision's own name or by a tag. Others concern all
revisions, and the default one writes: that of the tag `default`, else the one without a name, else the first by name. A Gateway without the
label gets its Deployment from the revision of its namespace. Must not know what objects mean.

Source: istio.md 2.24. Istio's revisions do not share status writing; here exactly one writes each object.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sailcloth.api.kinds import OPTIONAL_KINDS, SERVED_KINDS
from sailcloth.api.meta import Finding, Key, Object
from sailcloth.api.revision import DEFAULT, LABEL, TAG, suffixed
from sailcloth.mesh import injection
from sailcloth.store import Change

_CHOSEN = frozenset(kind.key_kind for kind in (*SERVED_KINDS, *OPTIONAL_KINDS))
_OWN_MAPS = ("istio", "istio-sidecar-injector")


class Revisions:
    """`change` passes on to `deliver` what this revision reads. `on_change` is called when it or another revision has other names, or
    when another one is the default; `writes` and `deploys` may have other answers then."""

    def __init__(self, namespace: str, revision: str, deliver: Change) -> None:
        self.own = revision or DEFAULT
        self._namespace, self._deliver = namespace, deliver
        self._maps = {suffixed(name, revision): name for name in _OWN_MAPS}
        self._injectors: dict[Key, tuple[str, str]] = {}  # (revision, tag) of webhook configurations
        self._choosing: dict[Key, tuple[str, Object]] = {}  # objects that name a revision, with its name
        self._namespaces: dict[str, str] = {}  # the revisions that they name
        self.names = frozenset((self.own,))
        """What this revision is called: its name and its tags."""
        self.default = self.own
        """The revision that has what names none."""
        self.known = self.names
        """The names of all revisions, and all tags."""
        self.on_change: Callable[[], None] = lambda: None

    @property
    def is_default(self) -> bool:
        """Whether this revision has what names none."""
        return self.default == self.own

    def change(self, key: Key, obj: Object | Finding | None) -> None:
        """An object was added, changed or (None) deleted."""
        labels = obj.metadata.labels if isinstance(obj, Object) else {}
        if key.kind == "MutatingWebhookConfiguration":
            self._injector_changed(key, labels)
            return
        if key.kind == "ConfigMap" and key.namespace == self._namespace:
            if key.name in _OWN_MAPS and key.name not in self._maps:
                return  # another revision's
            key = key._replace(name=self._maps.get(key.name, key.name))
        elif key.kind == "Namespace":
            self._namespaces[key.name] = DEFAULT if injection.NAMESPACE in labels else labels.get(LABEL, "")
        elif key.kind in _CHOSEN:
            self._choosing.pop(key, None)
            if (named := labels.get(LABEL)) and isinstance(obj, Object):
                self._choosing[key] = named, obj
                obj = obj if named in self.names else None
        self._deliver(key, obj)

    def writes(self, key: Key) -> bool:
        """Whether this revision writes the status of an object."""
        return self._is_meant(self._choosing[key][0] if key in self._choosing else "")

    def deploys(self, gateway: Key) -> bool:
        """Whether this revision makes the Deployment of a Gateway."""
        own = self._choosing[gateway][0] if gateway in self._choosing else ""
        return self._is_meant(own or self._namespaces.get(gateway.namespace, ""))

    def _is_meant(self, named: str) -> bool:
        return self.is_default if named in ("", DEFAULT) else named in self.names

    def _injector_changed(self, key: Key, labels: Mapping[str, str]) -> None:
        self._injectors.pop(key, None)
        if LABEL in labels and labels.get("app") == "sidecar-injector":
            self._injectors[key] = labels[LABEL], labels.get(TAG, "")
        tags = {tag: revision for revision, tag in self._injectors.values() if tag}
        revisions = {self.own, *(revision for revision, tag in self._injectors.values() if not tag)}
        default = tags.get(DEFAULT) or (DEFAULT if DEFAULT in revisions else min(revisions))
        names = frozenset((self.own, *(tag for tag, revision in tags.items() if revision == self.own)))
        known = names.union(revisions, tags)
        if (names, default, known) == (self.names, self.default, self.known):
            return
        before, self.names, self.default, self.known = self.names, names, default, known
        for chosen, (named, obj) in self._choosing.items():
            if (named in names) != (named in before):
                self._deliver(chosen, obj if named in names else None)
        self.on_change()
