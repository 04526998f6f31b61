"""`sailctl x convert`: what objects become, what is lost, and that calls go where they went before."""

from __future__ import annotations

from typing import Any

from sailcloth.api import validation
from sailcloth.api.validation import codes
from sailcloth.cli.convert import manifest_texts, steps
from sailcloth.cli.convert.documents import Document, scope_of


def converted(text: str, target: str = "istio") -> list[Document]:
    """The documents that a text becomes. None of them has an error."""
    documents = manifest_texts.split(text)
    out = steps.run(documents, scope_of(documents, "default"), target)
    for document in out:
        found = validation.check(document.body)
        errors = [
            str(f) for f in found if f.severity == "Error" or (f.code == codes.UNKNOWN_FIELD and document.sources)
        ]
        assert errors == [], manifest_texts.printed([document])
    return out


def bodies(documents: list[Document]) -> list[dict[str, Any]]:
    """Their bodies."""
    return [document.body for document in documents if document.body]


def lost(documents: list[Document]) -> list[str]:
    """What is lost, as `KIND NAMESPACE/NAME: PATH`."""
    return [f"{f.resource}: {f.path}" for d in documents for f in d.losses]
