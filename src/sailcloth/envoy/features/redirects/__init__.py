"""`http[].redirect` and `http[].directResponse`: responses of the proxy itself.

Redirect codes 301 (default), 302, 303, 307, 308. Envoy: `redirect`, `direct_response`. A rule with neither, and without
destinations, answers 500, because Envoy has no empty route.
"""
