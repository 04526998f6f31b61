"""Codes of findings. A code identifies the kind of mistake, independent of the object's kind. Must never change meaning."""

from __future__ import annotations

from typing import Final

TYPE: Final = "SAIL0001"  # a value does not match its field's type
UNKNOWN_FIELD: Final = "SAIL0002"
REQUIRED: Final = "SAIL0101"
CONFLICT: Final = "SAIL0102"  # mutually exclusive fields
HOST: Final = "SAIL0103"
PORT: Final = "SAIL0104"
DURATION: Final = "SAIL0105"
WEIGHT: Final = "SAIL0106"
LABEL: Final = "SAIL0107"
DUPLICATE: Final = "SAIL0108"
REGEX: Final = "SAIL0109"
RANGE: Final = "SAIL0110"
CHOICE: Final = "SAIL0111"  # not one of the supported values
NAMESPACE: Final = "SAIL0112"  # a namespace, or namespace/name, in a reference or in exportTo
TLS: Final = "SAIL0113"
ADDRESS: Final = "SAIL0114"
NAME: Final = "SAIL0115"  # of a header, a subset, a method, a variable
SIZE: Final = "SAIL0116"
RESERVED: Final = "SAIL0117"
REFERENCE: Final = "SAIL0118"  # targetRefs
DEPRECATED: Final = "SAIL0201"
NO_EFFECT: Final = "SAIL0202"
UNREACHABLE: Final = "SAIL0203"
RISKY: Final = "SAIL0204"  # valid, but most likely not intended
