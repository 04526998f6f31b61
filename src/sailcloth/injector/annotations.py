"""Annotations that configure injection, and their validation."""

from __future__ import annotations

import json
from typing import Any

from sailcloth.api.validation import pod_annotations

PROXY_CONFIG = "proxy.istio.io/config"


def validate(annotations: dict[str, str]) -> list[str]:
    """Messages for annotations with bad values; empty if all are well formed."""
    return [f"annotation {name}: {problem}" for name, problem in pod_annotations.problems(annotations)]


def user_entries(annotations: dict[str, str], name: str) -> list[dict[str, Any]]:
    """`sidecar.istio.io/userVolume` or `userVolumeMount`: a JSON object by name, or a list of objects with names. Raises ValueError."""
    text = annotations.get(f"sidecar.istio.io/{name}", "")
    if not text:
        return []
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ValueError(f"annotation sidecar.istio.io/{name}: not JSON: {error}") from None
    if isinstance(data, dict):
        data = [{"name": key, **value} for key, value in data.items() if isinstance(value, dict)]
    if not isinstance(data, list) or not all(isinstance(e, dict) and e.get("name") for e in data):
        raise ValueError(f'annotation sidecar.istio.io/{name}: must be JSON like {{"NAME": {{…}}}}')
    return data


def proxy_config(annotations: dict[str, str]) -> dict[str, object]:
    """The annotation `proxy.istio.io/config`, YAML or JSON; empty if there is none. Raises ValueError."""
    text = annotations.get(PROXY_CONFIG, "")
    if not text:
        return {}
    import yaml

    from sailcloth.lib import bounded_yaml

    try:
        data = bounded_yaml.load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"annotation proxy.istio.io/config: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise ValueError("annotation proxy.istio.io/config: must be an object")
    return json.loads(json.dumps(data))  # type: ignore[no-any-return]
