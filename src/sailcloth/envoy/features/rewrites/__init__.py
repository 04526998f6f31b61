"""`http[].rewrite`: changes path and authority before the request is forwarded.

`uri` replaces the matched prefix, or the whole path for an exact match; `uriRegexRewrite` substitutes by regular expression.
Envoy: `prefix_rewrite`, `regex_rewrite`, `host_rewrite_literal`.
"""
