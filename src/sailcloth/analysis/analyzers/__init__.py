"""Finds mistakes between objects: references that lead nowhere, conflicts, and configuration without effect.

One module per subject, with pure functions of an `ObjectSet` that yield findings; `pipeline` lists them in order, and
`catalogue` has the code, severity and text of each. Adding a check takes a function, a row of codes and a line in the
pipeline. What the mesh means by a host, a selector or an export is asked of `sailcloth.mesh`, never written again here.
"""

from __future__ import annotations

from .catalogue import MESSAGES, Message
from .context import Document, Origin
from .objects import ObjectSet, document
from .pipeline import ANALYZERS, Analyzer, Each, run, selected

__all__ = [
    "ANALYZERS",
    "MESSAGES",
    "Analyzer",
    "Document",
    "Each",
    "Message",
    "ObjectSet",
    "Origin",
    "document",
    "run",
    "selected",
]
