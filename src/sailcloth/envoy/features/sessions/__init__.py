"""`sessionPersistence` of the Gateway API: requests of a session go to the endpoint that its first one was sent to.

Envoy: the stateful session filter, listed but disabled in gateways' listeners and enabled per route. A cookie or header names the endpoint.
If that is gone, another one is chosen, and named from then on.
"""
