"""The CEL expressions of ValidatingAdmissionPolicies: compiled once, with the variables that Kubernetes gives them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from sailcloth.lib import celcost
from sailcloth.lib.cel import Program, Type

_DYNAMIC = ("object", "oldObject", "request", "params", "namespaceObject", "variables")
VARIABLES: dict[str, Type] = {**dict.fromkeys(_DYNAMIC, "dyn"), "authorizer": "map"}
_SAMPLE = 100  # bytes
_COMPOSITED = re.compile(r"\bvariables\.([A-Za-z_]\w*)")


@dataclass(frozen=True)
class Expression:
    """A compiled expression: its program, the variables of the policy that it names, whether an intermediate result may get much
    larger than what it reads."""

    program: Program
    variables: frozenset[str]
    grows: bool


@lru_cache(maxsize=1000)
def compiled(text: str) -> Expression:
    """Raises BadExpression."""
    program = Program(text, VARIABLES, authorizer=True)
    grows = celcost.largest_result(program.tree, _SAMPLE) > 4 * _SAMPLE
    return Expression(program, frozenset(_COMPOSITED.findall(text)), grows)


def largest_result(text: str, size: int) -> int:
    """The bytes that an intermediate result may have, at most, over variables of `size` bytes together."""
    return _largest_result(text, size.bit_length()) if compiled(text).grows else 4 * size


@lru_cache(maxsize=1000)
def _largest_result(text: str, bits: int) -> int:
    return celcost.largest_result(compiled(text).program.tree, 1 << bits)
