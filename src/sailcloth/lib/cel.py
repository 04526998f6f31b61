"""CEL expressions with Kubernetes' function library: compiled and type-checked once, evaluated many times.

The interpreter is Google's (`cel-expr-python`). This module adds Kubernetes' functions, and rewords errors as Kubernetes does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

from cel_expr_python import cel
from cel_expr_python.ext import ext_bindings, ext_optional, ext_strings

from .celauthorizer import LIBRARY as AUTHORIZER
from .celfunctions import LIBRARY

Type = Literal["bool", "string", "int", "double", "list", "map", "timestamp", "duration", "bytes", "dyn"]
_T = cel.Type
_TYPES: dict[str, cel.Type] = {
    "bool": _T.BOOL, "string": _T.STRING, "int": _T.INT, "double": _T.DOUBLE, "list": _T.List(_T.DYN),
    "map": _T.Map(_T.STRING, _T.DYN), "timestamp": _T.TIMESTAMP, "duration": _T.DURATION, "bytes": _T.BYTES, "dyn": _T.DYN,
}  # fmt: skip
_MESSAGES = [
    (r'Key not found in map : "?(.*?)"?$', r"no such key: \1"),
    (r"Index error: index=(-?\d+) size=\d+", r"index out of bounds: \1"),
    (r"divide by zero", "division by zero"),
    (r"cannot convert (\w+) to (\w+)", r"type conversion error from '\1' to '\2'"),
    (r"String to Duration conversion failed", "time: invalid duration"),
    (r"String to Timestamp conversion failed", "type conversion error from 'string' to 'google.protobuf.Timestamp'"),
    (r"Iteration budget exceeded.*", "operation cancelled: actual cost limit exceeded"),
    (r"No matching overloads found.*", "no such overload"),
]
RESERVED = frozenset(
    [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ]
)


class BadExpression(ValueError):
    """The expression does not compile; the message says where."""


class Failed(Exception):
    """The evaluation ended in an error, such as `no such key: x`."""


@lru_cache(maxsize=64)
def _environment(variables: tuple[tuple[str, Type], ...], authorizer: bool) -> Any:
    extensions = [ext_bindings.ExtBindings(), ext_optional.ExtOptional(), ext_strings.ExtStrings(), LIBRARY]
    if authorizer:
        extensions.append(AUTHORIZER)
    return cel.NewEnv(variables={name: _TYPES[kind] for name, kind in variables}, extensions=extensions)


class Program:
    """A compiled expression."""

    def __init__(self, expression: str, variables: Mapping[str, Type], *, authorizer: bool = False) -> None:
        """`authorizer`: with the functions of `celauthorizer`. Raises BadExpression."""
        try:
            self._program = _environment(tuple(sorted(variables.items())), authorizer).compile(expression)
        except RuntimeError as error:
            text = re.sub(r" \(in container ''\)", "", str(error).removeprefix("INVALID_ARGUMENT: "))
            raise BadExpression(text.removesuffix("[INVALID_ARGUMENT]").strip()) from None
        self.returns = str(self._program.return_type().name()).lower()

    @property
    def tree(self) -> Any:
        """The checked expression with its macros expanded, a `cel.expr.Expr`."""
        from cel.expr import checked_pb2
        from google.protobuf import any_pb2

        packed, checked = any_pb2.Any(), checked_pb2.CheckedExpr()
        packed.ParseFromString(self._program.serialize())
        packed.Unpack(checked)
        return checked.expr

    def run(self, values: Mapping[str, Any]) -> Any:
        """Evaluate; returns the value. Raises Failed."""
        try:
            result = self._program.eval(data=values)
        except RuntimeError as error:
            raise Failed(_kubernetes_message(str(error))) from None
        value = result.plain_value()
        if result.type() == cel.Type.ERROR:
            raise Failed(_kubernetes_message(str(value)))
        return value


def escape(name: str) -> str | None:
    """A field's name as written in expressions; None if expressions cannot name it."""
    if name in RESERVED:
        return f"__{name}__"
    escaped = name.replace("__", "__underscores__").replace(".", "__dot__").replace("-", "__dash__")
    escaped = escaped.replace("/", "__slash__")
    return escaped if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", escaped) else None


def _kubernetes_message(text: str) -> str:
    text = re.sub(r"^[A-Z_]+: ", "", text.strip())
    for pattern, message in _MESSAGES:
        replaced, count = re.subn(pattern, message, text)
        if count:
            return replaced
    return text
