"""Names of a control plane's revisions: several may run in a cluster, and pods, namespaces and objects choose one by a label.

A tag is another name of a revision, kept as a MutatingWebhookConfiguration. Source: istio.md 2.19, 2.24.
"""

from __future__ import annotations

LABEL, TAG = "istio.io/rev", "istio.io/tag"
DEFAULT = "default"
"""The revision of a control plane that was installed without one, and the tag that stands for whoever is to have what names none."""


def suffixed(before: str, revision: str, after: str = "") -> str:
    """The name of a revision's object: `istiod` and `istiod-1-30`."""
    return f"{before}{after}" if revision in ("", DEFAULT) else f"{before}-{revision}{after}"
