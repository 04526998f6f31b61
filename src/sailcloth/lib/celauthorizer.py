"""Kubernetes' authorizer library for CEL: `authorizer.group('').resource('pods').namespace('x').check('get').allowed()`.

An authorizer and a check are maps, as other opaque values in `celfunctions`. Who decides is set around an evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from cel_expr_python import cel

Check = dict[str, Any]
Decide = Callable[[dict[str, str], str], bool]
"""(attributes: group, resource, subresource, namespace, name or path, and user of a service account; verb) -> whether allowed."""

_KEY = "\1authorizer"
_decide: ContextVar[Decide] = ContextVar("decide")
_T = cel.Type
_OPAQUE = _T.Map(_T.STRING, _T.DYN)


@contextmanager
def deciding(decide: Decide) -> Iterator[None]:
    """Checks within this context are decided by `decide`."""
    token = _decide.set(decide)
    try:
        yield
    finally:
        _decide.reset(token)


def authorizer(**request: str) -> Check:
    """The value of the variable `authorizer`; `request` are the attributes of `authorizer.requestResource`."""
    return {_KEY: {}, "requestResource": {_KEY: request}}


def _attributes(value: Check) -> dict[str, str]:
    found = value.get(_KEY)
    if not isinstance(found, dict):
        raise ValueError("no such overload")
    return found


def _narrow(name: str) -> Callable[[Check, str], Check]:
    return lambda value, text: {_KEY: {**_attributes(value), name: text}}


def _account(value: Check, namespace: str, name: str) -> Check:
    return {_KEY: {**_attributes(value), "user": f"system:serviceaccount:{namespace}:{name}"}}


def _check(value: Check, verb: str) -> Check:
    return {"\1decision": _decide.get()(_attributes(value), verb)}


def _method(name: str, returns: cel.Type, function: Callable[..., Any], *parameters: cel.Type) -> cel.FunctionDecl:
    return cel.FunctionDecl(name, [cel.Overload(f"authorizer_{name}", returns, [_OPAQUE, *parameters], True, function)])


LIBRARY = cel.CelExtension(
    "kubernetes.authorizer",
    [
        *(
            _method(name, _OPAQUE, _narrow(name), _T.STRING)
            for name in (
                "group",
                "resource",
                "subresource",
                "namespace",
                "name",
                "path",
                "fieldSelector",
                "labelSelector",
            )
        ),
        _method("serviceAccount", _OPAQUE, _account, _T.STRING, _T.STRING),
        _method("check", _OPAQUE, _check, _T.STRING),
        _method(
            "allowed",
            _T.BOOL,
            lambda c: bool(c.get("\1decision")),
        ),
        _method("errored", _T.BOOL, lambda c: False),
        _method("error", _T.STRING, lambda c: ""),
        _method("reason", _T.STRING, lambda c: ""),
    ],
)
