"""Dynamic forward proxy: resolves a request's host by DNS. For ServiceEntries with a wildcard host and resolution DYNAMIC_DNS,
and for unknown hosts if the mesh's outboundTrafficPolicy is ALLOW_ANY_DYNAMIC_DNS.

The cluster connects to the request's host; a filter before the router resolves it, enabled for these routes only. Unlike with
ALLOW_ANY, the destination address that the application chose is ignored, so it cannot be forged.
Source: istio.md 1.4, 1.11.
"""
