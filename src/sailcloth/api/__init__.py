"""Typed, frozen resources: parse, defaults, validate. One module per kind family. Pure: no I/O, no clock."""
