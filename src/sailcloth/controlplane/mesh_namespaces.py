"""Which namespaces are in the mesh: those that `meshConfig.discoverySelectors` selects, and the control plane's own.

Of others nothing is read and in them nothing is written. Must not decide about injection, which goes by labels of its own.

Source: Istio's MeshConfig.discoverySelectors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sailcloth.api.meta import Finding, Key, Object
from sailcloth.lib import label_selector
from sailcloth.mesh.model import MeshConfig


class MeshNamespaces:
    """`change` reports namespaces; `config` is asked for the selectors in force."""

    def __init__(self, root: str, config: Callable[[], MeshConfig]) -> None:
        self._root, self._config = root, config
        self._labels: dict[str, Mapping[str, str]] = {}

    def change(self, key: Key, obj: Object | Finding | None) -> None:
        """A Namespace was added, changed or (None) deleted."""
        self._labels.pop(key.name, None)
        if isinstance(obj, Object):
            self._labels[key.name] = obj.metadata.labels

    def selected(self) -> frozenset[str] | None:
        """The namespaces to read of; None if nothing selects, so that all are in the mesh."""
        if not self._config().discovery_selectors:
            return None
        return frozenset(namespace for namespace in self._labels if namespace in self)

    def __contains__(self, namespace: str) -> bool:
        selectors, labels = self._config().discovery_selectors, self._labels.get(namespace)
        if not selectors or namespace == self._root:
            return True
        return labels is not None and any(label_selector.matches(s, labels) for s in selectors)
