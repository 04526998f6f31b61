"""Warns of configuration of Mixer that has no effect."""

from __future__ import annotations

from sailcloth.api import mixer
from sailcloth.api.mixer import MixerConfig

from . import codes
from .report import Report

_INSTEAD = {
    "opa": "Use an AuthorizationPolicy with action CUSTOM.",
    "authorization": "Use an AuthorizationPolicy.",
    "HTTPAPISpec": "Use a RateLimit with match.path.",
    "HTTPAPISpecBinding": "Use a RateLimit with match.path.",
}
_TELEMETRY = "Metrics, logs and traces come from the proxies themselves; remove it."

KINDS = tuple(kind for kind, _ in mixer.STORED)


def validate(report: Report, obj: MixerConfig) -> None:
    """Report that the object is only stored."""
    kind = report.resource.kind
    report.warning(codes.NO_EFFECT, "", f"{kind} configured Mixer, which is gone: it is stored and has no effect",
                   _INSTEAD.get(kind, _TELEMETRY))  # fmt: skip
