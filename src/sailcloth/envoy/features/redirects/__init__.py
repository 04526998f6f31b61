"""`http[].redirect` and `http[].directResponse`: answers that the proxy gives itself.

Redirect codes 301 (default), 302, 303, 307, 308. Envoy: `redirect`, `direct_response`. A rule with neither, and without
destinations, answers 500, because Envoy knows no empty route.
"""
