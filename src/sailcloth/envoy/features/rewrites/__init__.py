"""`http[].rewrite`: path and authority changed before the request is sent on.

`uri` replaces what was matched: the prefix, or the whole path for an exact match; `uriRegexRewrite` substitutes by regular
expression. Envoy: `prefix_rewrite`, `regex_rewrite`, `host_rewrite_literal`.
"""
