"""`http[].corsPolicy`: cross-origin resource sharing.

Envoy: the CORS filter, listed but disabled in every listener and enabled per route. `allowOrigin` is the older exact form.
`unmatchedPreflights: IGNORE` keeps preflight requests of other origins from the application.
"""
