"""What a request asks for: which object of which resource, for whom, with which options. Made once, where a request comes in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .auth.authentication import User
from .registry import ApiResource


@dataclass(frozen=True)
class Body:
    """What a request carried. `duplicates` are the paths of fields that it has more than once; the last one counts."""

    value: Any
    content_type: str
    duplicates: tuple[str, ...] = ()


@dataclass(frozen=True)
class RequestInfo:
    """The attributes of one request for one object. `options` are its query parameters (CreateOptions and its like),
    `field_manager` is whom managed fields name as the writer."""

    resource: ApiResource
    user: User
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    field_manager: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dry_run(self) -> bool:
        return bool(self.options.get("dryRun"))

    @property
    def force(self) -> bool:
        return self.options.get("force") in ("true", True)
