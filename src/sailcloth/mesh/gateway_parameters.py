"""What `infrastructure.parametersRef` of a Gateway says of the objects that are made for it: patches in a ConfigMap, one for each kind, as
Istio has them. Pure; must not know the objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from sailcloth.api import core
from sailcloth.api.gateway_api import LocalReference
from sailcloth.api.meta import Object
from sailcloth.lib import bounded_yaml, strategic_merge

PATCHED = ("deployment", "service", "serviceAccount", "horizontalPodAutoscaler", "podDisruptionBudget")
"""The keys of the ConfigMap."""
_FIXED = ("apiVersion", "kind")


@dataclass(frozen=True)
class Parameters:
    """Patches by key; `problem`: why they cannot be used, empty if they can."""

    patches: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    problem: str = ""


def is_of_interest(config_map: core.ConfigMap) -> bool:
    """Whether a ConfigMap may be the parameters of a Gateway."""
    return any(key in config_map.data for key in PATCHED)


def read(reference: LocalReference | None, config_map: Object | None) -> Parameters:
    """The patches of a Gateway's parameters; without a reference, none. config_map: what it names."""
    if reference is None:
        return Parameters()
    what = f"infrastructure.parametersRef: {reference.kind} {reference.name}"
    if reference.group not in ("", "core") or reference.kind != "ConfigMap":
        return Parameters(problem=f"{what} is not supported; use a ConfigMap with {', '.join(PATCHED)}")
    if not isinstance(config_map, core.ConfigMap):
        return Parameters(problem=f"{what} does not exist, or has none of {', '.join(PATCHED)}")
    patches: dict[str, dict[str, Any]] = {}
    for key, text in sorted(config_map.data.items()):
        if key not in PATCHED:
            return Parameters(problem=f"{what}: {key} is unknown; use {', '.join(PATCHED)}")
        try:
            patch = bounded_yaml.load(text)
            if not isinstance(patch, dict):
                raise ValueError("an object is expected")
            strategic_merge.check(patch)
        except (yaml.YAMLError, ValueError) as error:
            return Parameters(problem=f"{what}: {key}: {' '.join(str(error).split())}")
        patches[key] = {name: value for name, value in patch.items() if name not in _FIXED}
    return Parameters(patches)
