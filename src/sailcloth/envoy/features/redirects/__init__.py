"""`http[].redirect` and `http[].directResponse`: responses of the proxy itself.

Redirect codes 301 (default), 302, 303, 307, 308. Envoy: `redirect`, `direct_response`. The default port of a scheme is left out of
the location; an HTTPRoute's redirect that keeps the scheme keeps the port. A rule with neither, and without destinations, answers
500, because Envoy has no empty route.
"""
