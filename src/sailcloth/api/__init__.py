"""The API types: frozen, with defaults, parsing and validation. One module per API group or kind. Must not do I/O or read a clock."""
