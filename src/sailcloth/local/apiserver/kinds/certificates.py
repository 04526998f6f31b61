"""CertificateSigningRequests: what they may ask for, and which of their fields a request to a path may change."""

from __future__ import annotations

import base64
import copy
from collections.abc import Iterator

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from sailcloth.lib.x509_errors import as_value_errors

from ..field_errors import FieldError
from ..times import now
from ..unstructured import Unstructured
from .columns import AGE, span, text, value_at
from .record import STATUS, Kind, Subresource

CLIENT_USAGES = {"client auth", "digital signature", "key encipherment"}
_KNOWN_USAGES = CLIENT_USAGES | {
    "signing", "content commitment", "key agreement", "data encipherment", "cert sign", "crl sign", "encipher only",
    "decipher only", "any", "server auth", "code signing", "email protection", "s/mime", "ipsec end system", "ipsec tunnel",
    "ipsec user", "timestamping", "ocsp signing", "microsoft sgc", "netscape sgc",
}  # fmt: skip  # fmt: skip
_SHORTEST_S = 600
_DECISIONS = ("Approved", "Denied")


def _restrict(live: Unstructured, new: Unstructured, subresource: str) -> Unstructured:
    """What a request to a path may change: decisions at `approval`, the rest of the status at `status`, nothing of the spec."""
    status = copy.deepcopy(live.get("status") or {})
    given = new.get("status") or {}
    if subresource == "approval":
        status["conditions"] = given.get("conditions") or []
    elif subresource == "status":
        decisions = [c for c in status.get("conditions") or () if c.get("type") in _DECISIONS]
        others = [c for c in given.get("conditions") or () if c.get("type") not in _DECISIONS]
        status = {**given, "conditions": decisions + others}
    for condition in status.get("conditions") or ():
        for key in ("lastUpdateTime", "lastTransitionTime"):
            condition.setdefault(key, now())
    metadata = {**new["metadata"]}
    if subresource:
        metadata = {
            **live["metadata"],
            **{k: v for k, v in metadata.items() if k in ("managedFields", "resourceVersion")},
        }
    return {**new, "metadata": metadata, "spec": live["spec"], "status": {k: v for k, v in status.items() if v}}


def _validate(obj: Unstructured, old: Unstructured | None) -> Iterator[FieldError]:
    """What keeps a request from being stored."""
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        return
    if old is None:
        try:
            parse_request(spec)
        except ValueError as error:
            yield "spec.request", "FieldValueInvalid", f"Invalid value: {error}"
        if not spec.get("usages"):
            yield "spec.usages", "FieldValueRequired", "Required value: usages must be specified"
        for index, usage in enumerate(spec.get("usages") or ()):
            if usage not in _KNOWN_USAGES:
                yield f"spec.usages[{index}]", "FieldValueNotSupported", f'Unsupported value: "{usage}"'
        if "/" not in str(spec.get("signerName")):
            text = "Invalid value: must be a fully qualified domain and path of the form 'example.com/signer-name'"
            yield "spec.signerName", "FieldValueInvalid", text
        if (spec.get("expirationSeconds") or _SHORTEST_S) < _SHORTEST_S:
            text = f"Invalid value: {spec['expirationSeconds']}: may not specify a duration less than 600 seconds (10 minutes)"
            yield "spec.expirationSeconds", "FieldValueInvalid", text
    had, has = (conditions_true(o or {}) for o in (old, obj))
    if {*_DECISIONS} <= has:
        text = "Invalid value: Approved and Denied conditions are mutually exclusive"
        yield "status.conditions", "FieldValueInvalid", text
    issued = ((old or {}).get("status") or {}).get("certificate")
    if issued and issued != (obj.get("status") or {}).get("certificate"):
        yield "status.certificate", "FieldValueForbidden", "Forbidden: a certificate that was issued stays as it is"
    for decision in sorted(had & {*_DECISIONS} - has):
        text = f"Forbidden: updates may not remove a condition of type {decision}"
        yield "status.conditions", "FieldValueForbidden", text


def conditions_true(obj: Unstructured) -> set[str]:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return {c.get("type", "") for c in conditions if c.get("status", "True") == "True"}


def parse_request(spec: Unstructured) -> x509.CertificateSigningRequest:
    """Raises ValueError, in words, for what is no request, or not of the one who has the key."""
    try:
        with as_value_errors():
            request = x509.load_pem_x509_csr(base64.b64decode(spec.get("request") or "", validate=True))
            signed, key = request.is_signature_valid, request.public_key()
        if not signed:
            raise ValueError("the signature of the request is not its key's")
        if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
            raise ValueError("the key is none of RSA, ECDSA and Ed25519")
        return request
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"PEM block of type CERTIFICATE REQUEST expected: {' '.join(str(error).split())[:200]}"
        ) from None


def _requested_duration(obj: Unstructured) -> str:
    seconds = obj["spec"].get("expirationSeconds")
    return span(seconds) if seconds else "<none>"


def _condition(obj: Unstructured) -> str:
    status = obj.get("status") or {}
    kinds = [c["type"] for c in status.get("conditions") or ()]
    words = [k for k in ("Approved", "Denied", "Failed") if k in kinds] or ["Pending"]
    return ",".join([*words, "Issued"] if status.get("certificate") else words)


CERTIFICATE_SIGNING_REQUEST = Kind(
    group="certificates.k8s.io",
    plural="certificatesigningrequests",
    kind="CertificateSigningRequest",
    namespaced=False,
    short_names=("csr",),
    subresources=(STATUS, Subresource("approval")),
    columns=(
        AGE,
        text("SignerName", value_at("spec.signerName", "")),
        text("Requestor", value_at("spec.username", "")),
        text("RequestedDuration", _requested_duration),
        text("Condition", _condition),
    ),
    validate_always=_validate,
    restrict=_restrict,
)
KINDS = (CERTIFICATE_SIGNING_REQUEST,)
