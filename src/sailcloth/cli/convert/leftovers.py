"""Objects of old groups that no conversion knows: they stay as they are, and a finding says so."""

from __future__ import annotations

from dataclasses import replace

from .documents import Document, Losses, Scope

_GROUPS = ("config.istio.io", "authentication.istio.io", "rbac.istio.io", "smi-spec.io")


def convert(documents: list[Document], scope: Scope) -> list[Document]:
    """Mark what is left."""
    out = []
    for document in documents:
        if document.group.endswith(_GROUPS):
            losses = Losses(document.key(scope.namespace))
            text = f"the object stays as it is: {document.kind} has no conversion"
            losses.add("kind", text, "Replace it by hand, or delete it: nothing reads it.")
            document = replace(document, losses=(*document.losses, *losses.found))
        out.append(document)
    return out
