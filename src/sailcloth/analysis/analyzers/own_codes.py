"""The codes of what this analysis finds beyond Istio's, and Kiali's numbers of both. Data only.

SAIL10xx are checks that Kiali has and Istio has not; SAIL11xx are our own. A code never changes its meaning.
"""

from __future__ import annotations

# (code, severity, name, meaning, template of the text)
ROWS: tuple[tuple[str, str, str, str, str], ...] = ()

KIALI: dict[str, tuple[str, ...]] = {}
"""Kiali's codes that say the same as one of ours, by our code."""
