"""Objects as clients send them: decoded JSON, as Kubernetes' `unstructured` package has them."""

from __future__ import annotations

from typing import Any

Unstructured = dict[str, Any]
