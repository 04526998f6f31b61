"""RequestAuthentication: which end-user tokens (JWT) are valid for a workload or gateway.

The rules of all policies of the workload hold together. A request without a token passes, without an identity; a token that no rule
verifies is answered with 401. A rule with `presence: REQUIRED` refuses requests without a valid token of such a rule. Envoy: one
`jwt_authn` filter after external authorizers and before AuthorizationPolicies, which read the token's claims from its metadata.

Keys are given by the rule (`jwks`), or fetched by the control plane: every 20 minutes, the last valid ones stay. Until there are any, a
key that nobody has stands in, so tokens are refused. Differs from Istio: symmetric keys are not used, and addresses of this machine
and of metadata services are not fetched from (MeshConfig `blockedCidrsInJwksUris`). Source: istio.md 1.8, 2.13.
"""
