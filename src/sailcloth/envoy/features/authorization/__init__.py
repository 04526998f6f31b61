"""AuthorizationPolicy: who may access a workload or gateway.

All policies for the workload hold together: CUSTOM asks an external authorizer (MeshConfig `extensionProviders`) about what one of
its rules matches, several authorizers one after the other; AUDIT marks requests for logs; DENY refuses what one of its rules matches; if there are ALLOW
policies, what none of their rules matches is refused. HTTP answers 403 `RBAC: access denied`, TCP closes the connection. Envoy: an
RBAC filter for each action, after the tokens' one, and before that one an RBAC and an `ext_authz` filter for each authorizer. `istio.io/dry-run` makes a policy count only (shadow rules).

On TCP a rule that uses HTTP fields is left out of ALLOW policies and holds without those fields in others: neither lets more in.
The trust domain's aliases mean the trust domain too. With an unknown authorizer everything is refused, as in Istio; a connection of
bytes that rules of an authorizer without gRPC match is refused, unlike in Istio, which lets it pass. A connection that is open when policies change may bring one more request by the
old ones, for 5 s at most (`drainDuration`; 45 s in Istio). What validation would not let in never lets more in. Source: istio.md 2.12.
"""
