"""PromQL on arrays: an expression is evaluated for all steps of a query at once.

The text is parsed by the package `promql-parser`; `evaluate` walks its tree. `vectors` says what values are; `windows` range functions,
`functions` the others, `aggregation` and `binary` the operators. Semantics, down to extrapolation and staleness, are those of
Prometheus 2: a range includes both of its ends. What is not supported is an error that names it.
"""
