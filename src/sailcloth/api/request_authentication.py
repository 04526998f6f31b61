"""RequestAuthentication (security.istio.io): which tokens are valid."""

from __future__ import annotations

from typing import Annotated, Literal

from .attachment import Attached
from .meta import D, Duration, Object, Struct


class JWTHeader(Struct):
    """A header with a token."""

    name: Annotated[str, D("Name of the header.")] = ""
    prefix: Annotated[str | None, D("What stands before the token, such as `Bearer `.")] = None


class ClaimToHeader(Struct):
    """Copies a claim into a header."""

    header: Annotated[str, D("Name of the header.")] = ""
    claim: Annotated[str, D("Name of the claim; dots descend.")] = ""


class JWTRule(Struct):
    """One issuer of tokens."""

    issuer: Annotated[str, D("The issuer, as in the token.")] = ""
    audiences: Annotated[list[str], D("Audiences of which the token must have one.")] = []
    jwks_uri: Annotated[str | None, D("Where the issuer's keys are.")] = None
    jwks: Annotated[str | None, D("The issuer's keys, as JSON.")] = None
    from_headers: Annotated[list[JWTHeader], D("Headers with the token; default Authorization.")] = []
    from_params: Annotated[list[str], D("Query parameters with the token; default access_token.")] = []
    from_cookies: Annotated[list[str], D("Cookies with the token.")] = []
    output_payload_to_header: Annotated[str | None, D("Header that gets the payload, in base64.")] = None
    output_claim_to_headers: Annotated[list[ClaimToHeader], D("Claims to copy into headers.")] = []
    forward_original_token: Annotated[bool | None, D("Keep the token in the request.")] = None
    timeout: Annotated[Duration | None, D("Limit for fetching keys; default 5s.")] = None
    presence: Annotated[
        Literal["PRESENCE_UNSPECIFIED", "OPTIONAL", "REQUIRED"] | None, D("Whether requests must have a token.")
    ] = None
    space_delimited_claims: Annotated[list[str], D("Claims that are lists, with spaces.")] = []


class RequestAuthenticationSpec(Attached):
    """The tokens that are valid for workloads."""

    jwt_rules: Annotated[list[JWTRule], D("Issuers; a token of none of them is refused.")] = []


class RequestAuthentication(Object):
    """Defines which tokens of end users are valid."""

    spec: RequestAuthenticationSpec = RequestAuthenticationSpec()
