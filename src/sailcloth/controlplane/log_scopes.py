"""The control plane's log scopes under Istio's names, for `sailctl admin log`: each is one or several loggers of Python.

Must not keep levels of its own: they are the loggers'.
"""

from __future__ import annotations

import logging
from typing import Any

_SCOPES = {
    "default": ("everything that has no scope of its own", ("",)),
    "ads": (
        "discovery: streams, pushes, acknowledgements",
        ("sailcloth.xds", "sailcloth.controlplane.connected_proxies"),
    ),
    "ca": ("certificate authority", ("sailcloth.ca", "sailcloth.controlplane.certificates")),
    "grpc": ("gRPC and HTTP connections", ("sailcloth.lib.grpc_server", "sailcloth.lib.connections")),
    "injection": ("sidecar injection", ("sailcloth.injector",)),
    "kube": ("the API server's client and watches", ("sailcloth.kube", "sailcloth.store")),
    "model": ("changes of the configuration", ("sailcloth.controlplane.config_updates",)),
    "security": ("identities of callers", ("sailcloth.controlplane.identity",)),
    "status": ("statuses of objects", ("sailcloth.lib.work_queue", "sailcloth.controlplane.refusals")),
    "trustBundle": ("roots in namespaces", ("sailcloth.controlplane.root_bundles",)),
}
_LEVELS = {  # Istio's names
    "none": logging.CRITICAL + 10,
    "fatal": logging.CRITICAL,
    "error": logging.ERROR,
    "warn": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
}


def scopes() -> list[dict[str, Any]]:
    """All scopes with their levels."""
    return [scope(name) for name in sorted(_SCOPES)]


def scope(name: str) -> dict[str, Any]:
    """One scope in the form of ControlZ. Raises LookupError."""
    description, loggers = _of(name)
    level = logging.getLogger(loggers[0]).getEffectiveLevel()
    shown = next((text for text, number in _LEVELS.items() if level >= number), "debug")
    return {
        "name": name,
        "description": description,
        "output_level": shown,
        "stack_trace_level": "none",
        "log_callers": True,
    }


def set_level(name: str, level: str) -> None:
    """Set the level of a scope. Raises LookupError for an unknown scope, ValueError for an unknown level."""
    if level not in _LEVELS:
        raise ValueError(f"unknown level {level!r}; use {', '.join(_LEVELS)}")
    for logger in _of(name)[1]:
        logging.getLogger(logger).setLevel(_LEVELS[level])


def _of(name: str) -> tuple[str, tuple[str, ...]]:
    if name not in _SCOPES:
        raise LookupError(f"unknown scope {name!r}; known are {', '.join(sorted(_SCOPES))}")
    return _SCOPES[name]
