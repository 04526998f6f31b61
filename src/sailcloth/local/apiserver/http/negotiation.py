"""Content negotiation: the media type that the client's Accept header prefers. Encodes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ..errors import StatusError

JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
_SHAPES = {"Table": "Table", "PartialObjectMetadata": "Metadata", "PartialObjectMetadataList": "Metadata"}


@dataclass(frozen=True)
class Media:
    """A media type, and the shape of objects: as they are "", Table, or Metadata only."""

    type: str = JSON
    shape: str = ""


@lru_cache(maxsize=256)
def negotiate(accept: str, offers: tuple[str, ...] = (JSON, YAML)) -> Media:
    """The offer that the client prefers: by q, then the more specific, then the earlier. Raises StatusError (406)."""
    wishes = []
    for clause in accept.split(",") if accept.strip() else ["*/*"]:
        kind, *rest = (word.strip() for word in clause.split(";"))
        parameters = dict(word.partition("=")[::2] for word in rest)
        try:
            q = float(parameters.get("q", 1))
        except ValueError:
            q = 0.0
        if q > 0:
            wishes.append((-q, kind.count("*"), kind.lower(), parameters))
    for _, _, kind, parameters in sorted(wishes, key=lambda w: w[:2]):
        given = parameters.get("as", "")
        shape = _SHAPES.get(given, "") if parameters.get("v", "v1") == "v1" else ""
        if given and not shape:
            continue
        for offer in ("application/json",) if shape == "Table" else offers:
            if kind in (offer, "*/*", "application/*"):
                return Media(offer, shape)
    raise StatusError(406, "NotAcceptable", f"only the following media types are accepted: {', '.join(offers)}")
