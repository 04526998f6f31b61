"""RequestAuthentication (security.istio.io): which tokens are valid."""

from __future__ import annotations

from typing import Annotated, Literal

from .attachment import Attached, ConstraintOneAttachment
from .meta import Constraint, ConstraintDuration, D, Duration, NotEmpty, Object, Struct


class JWTHeader(Struct):
    """A header with a token."""

    name: Annotated[str, D("Name of the header."), Constraint(required=True, minLength=1)] = ""
    prefix: Annotated[str | None, D("Text before the token, such as `Bearer `.")] = None


class ClaimToHeader(Struct):
    """Copies a claim into a header."""

    header: Annotated[
        str, D("Name of the header."), Constraint(required=True, minLength=1, pattern="^[-_A-Za-z0-9]+$")
    ] = ""
    claim: Annotated[
        str, D("Name of the claim; dots separate nested claims."), Constraint(required=True, minLength=1)
    ] = ""


_URL = Constraint(
    ("url(self).getScheme() in ['http', 'https']", "url must have scheme http:// or https://"),
    minLength=1,
    maxLength=2048,
)


class JWTRule(Struct, names={"jwks_uri_deprecated": "jwks_uri"}):
    """One issuer of tokens."""

    issuer: Annotated[str, D("The issuer, as in the token."), Constraint(required=True, minLength=1)] = ""
    audiences: Annotated[tuple[NotEmpty, ...], D("Audiences; the token must have one of them.")] = ()
    jwks_uri: Annotated[str | None, D("URL of the issuer's keys."), _URL] = None
    jwks_uri_deprecated: Annotated[
        str | None, D("URL of the issuer's keys, under its first name (deprecated: use jwksUri)."), _URL
    ] = None
    jwks: Annotated[str | None, D("The issuer's keys, as JSON.")] = None
    from_headers: Annotated[tuple[JWTHeader, ...], D("Headers with the token; default Authorization.")] = ()
    from_params: Annotated[tuple[NotEmpty, ...], D("Query parameters with the token; default access_token.")] = ()
    from_cookies: Annotated[tuple[NotEmpty, ...], D("Cookies with the token.")] = ()
    output_payload_to_header: Annotated[str | None, D("Header that gets the payload, in base64.")] = None
    output_claim_to_headers: Annotated[tuple[ClaimToHeader, ...], D("Claims to copy into headers.")] = ()
    forward_original_token: Annotated[bool | None, D("Keep the token in the request.")] = None
    timeout: Annotated[Duration | None, D("Limit for fetching keys; default 5s."), ConstraintDuration] = None
    presence: Annotated[
        Literal["PRESENCE_UNSPECIFIED", "OPTIONAL", "REQUIRED"] | None, D("Whether requests must have a token.")
    ] = None
    space_delimited_claims: Annotated[tuple[NotEmpty, ...], D("Claims that are lists separated by spaces.")] = ()


ConstraintOneKeySource = Constraint(
    ("!(has(self.jwks) && has(self.jwksUri))", "only one of jwks or jwksUri can be set")
)


class RequestAuthenticationSpec(Attached):
    """The tokens that are valid for workloads."""

    jwt_rules: Annotated[
        tuple[Annotated[JWTRule, ConstraintOneKeySource], ...],
        D("Issuers; tokens of other issuers are rejected."),
        Constraint(maxItems=4096),
    ] = ()


class RequestAuthentication(Object):
    """Defines which end-user tokens are valid."""

    spec: Annotated[RequestAuthenticationSpec, ConstraintOneAttachment] = RequestAuthenticationSpec()
