"""Hosts that are looked up when a request names them: ServiceEntries with a wildcard host and resolution DYNAMIC_DNS, and unknown
hosts where the mesh's outboundTrafficPolicy is ALLOW_ANY_DYNAMIC_DNS.

The cluster takes its endpoints from the request's host; a filter in front of the router looks the host up and is turned on for
these routes only. Where the address was forged by the application, as with ALLOW_ANY, it does not count: the name does.
Source: istio.md 1.4, 1.11.
"""
