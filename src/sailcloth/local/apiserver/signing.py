"""Certificate signing requests: who asks, who may approve or sign, and the certificate of an approved one.

The cluster signs for `kubernetes.io/kube-apiserver-client` only; requests to other signers wait for somebody who does. It never
approves, and no certificate it signs is for `system:masters`, whom no rule holds back.
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Iterator
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from . import rbac
from .access import User
from .errors import Refused
from .pki import Pair
from .storage import Store, clone
from .times import now

Object = dict[str, Any]
Wrong = tuple[str, str, str]  # field, reason, message
REQUESTS = "certificatesigningrequests.certificates.k8s.io"
CLIENT = "kubernetes.io/kube-apiserver-client"
_SHORTEST_S, _LONGEST_S = 600, 365 * 86_400
_USAGES = {"client auth", "digital signature", "key encipherment"}
_KNOWN_USAGES = _USAGES | {
    "signing", "content commitment", "key agreement", "data encipherment", "cert sign", "crl sign", "encipher only",
    "decipher only", "any", "server auth", "code signing", "email protection", "s/mime", "ipsec end system", "ipsec tunnel",
    "ipsec user", "timestamping", "ocsp signing", "microsoft sgc", "netscape sgc",
}  # fmt: skip
_SHORTEST_RSA = 2048
_VERDICTS = ("Approved", "Denied")


def begin(obj: Object, user: User) -> None:
    """A new request is its sender's, whatever it says, and undecided; in place. Raises Refused."""
    obj.pop("status", None)
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        return
    for key in ("username", "uid", "groups", "extra"):
        spec.pop(key, None)
    spec.update(user.info())
    if spec.get("signerName") == CLIENT and "system:masters" in _groups(spec):
        text = f"use of {CLIENT} signer with system:masters group is not allowed"
        raise Refused(403, "Forbidden", f'{REQUESTS} "{obj["metadata"].get("name", "")}" is forbidden: {text}')


def scoped(live: Object, new: Object, sub: str) -> Object:
    """What a request to a path may change: verdicts at `approval`, the rest of the status at `status`, nothing of the spec."""
    status = clone(live.get("status") or {})
    given = new.get("status") or {}
    if sub == "approval":
        status["conditions"] = given.get("conditions") or []
    elif sub == "status":
        verdicts = [c for c in status.get("conditions") or () if c.get("type") in _VERDICTS]
        others = [c for c in given.get("conditions") or () if c.get("type") not in _VERDICTS]
        status = {**given, "conditions": verdicts + others}
    for condition in status.get("conditions") or ():
        for key in ("lastUpdateTime", "lastTransitionTime"):
            condition.setdefault(key, now())
    metadata = {**new["metadata"]}
    if sub:
        metadata = {
            **live["metadata"],
            **{k: v for k, v in metadata.items() if k in ("managedFields", "resourceVersion")},
        }
    return {**new, "metadata": metadata, "spec": live["spec"], "status": {k: v for k, v in status.items() if v}}


def permit(store: Store, live: Object, new: Object, sub: str, user: User) -> None:
    """Raises Refused if the user may not decide, or sign, for the request's signer."""
    verb = {"approval": "approve", "status": "sign"}.get(sub)
    if verb is None or live.get("status") == new.get("status"):
        return
    signer = str(live["spec"].get("signerName"))
    for name in (signer, f"{signer.partition('/')[0]}/*"):
        if rbac.allowed(
            store, user.name, user.groups, rbac.Attributes(verb, "certificates.k8s.io", "signers", name=name)
        ):
            return
    text = f'user not permitted to {verb} requests with signerName "{signer}"'
    raise Refused(403, "Forbidden", f'{REQUESTS} "{live["metadata"]["name"]}" is forbidden: {text}')


def wrong(obj: Object, old: Object | None) -> Iterator[Wrong]:
    """What keeps a request from being stored."""
    spec = obj["spec"]
    if old is None:
        try:
            _read(spec)
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
    had, has = (_true(o or {}) for o in (old, obj))
    if {*_VERDICTS} <= has:
        text = "Invalid value: Approved and Denied conditions are mutually exclusive"
        yield "status.conditions", "FieldValueInvalid", text
    issued = ((old or {}).get("status") or {}).get("certificate")
    if issued and issued != (obj.get("status") or {}).get("certificate"):
        yield "status.certificate", "FieldValueForbidden", "Forbidden: a certificate that was issued stays as it is"
    for verdict in sorted(had & {*_VERDICTS} - has):
        text = f"Forbidden: updates may not remove a condition of type {verdict}"
        yield "status.conditions", "FieldValueForbidden", text


def signable(obj: Object) -> bool:
    """Whether the cluster owes this request a certificate."""
    open_ = _true(obj) & {"Approved", "Denied", "Failed"} == {"Approved"}
    return open_ and obj["spec"].get("signerName") == CLIENT and not obj["status"].get("certificate")


def issue(ca: Pair, obj: Object) -> bytes:
    """The certificate of an approved request, in PEM. Raises ValueError for a request that this signer does not sign."""
    spec = obj["spec"]
    request, usages = _read(spec), {*spec["usages"]}
    if "client auth" not in usages or usages - _USAGES:
        raise ValueError(f"usages must include 'client auth' and no other than {', '.join(sorted(_USAGES))}")
    if "system:masters" in _groups(spec):
        raise ValueError("a certificate for the group system:masters is not signed")
    subject_key = request.public_key()
    if isinstance(subject_key, rsa.RSAPublicKey) and subject_key.key_size < _SHORTEST_RSA:
        raise ValueError(f"an RSA key of {subject_key.key_size} bits is too short: {_SHORTEST_RSA} are the least")
    authority = x509.load_pem_x509_certificate(ca.certificate)
    key: Any = serialization.load_pem_private_key(ca.key, None)
    begun = dt.datetime.now(dt.UTC)
    life = dt.timedelta(seconds=min(spec.get("expirationSeconds") or _LONGEST_S, _LONGEST_S))
    marks = "digital signature" in usages, "key encipherment" in usages
    builder = (
        x509.CertificateBuilder()
        .subject_name(request.subject)
        .issuer_name(authority.subject)
        .public_key(subject_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begun - dt.timedelta(minutes=5))
        .not_valid_after(min(begun + life, authority.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    if any(marks):
        usage = x509.KeyUsage(marks[0], False, marks[1], False, False, False, False, False, False)
        builder = builder.add_extension(usage, critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _true(obj: Object) -> set[str]:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return {c.get("type", "") for c in conditions if c.get("status", "True") == "True"}


def _read(spec: Object) -> x509.CertificateSigningRequest:
    """Raises ValueError, in words, for what is no request, or not of the one who has the key."""
    try:
        request = x509.load_pem_x509_csr(base64.b64decode(spec.get("request") or "", validate=True))
        if not request.is_signature_valid:
            raise ValueError("the signature of the request is not its key's")
        if not isinstance(
            request.public_key(), rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
        ):
            raise ValueError("the key is none of RSA, ECDSA and Ed25519")
        return request
    except (UnsupportedAlgorithm, ValueError, TypeError) as error:
        raise ValueError(
            f"PEM block of type CERTIFICATE REQUEST expected: {' '.join(str(error).split())[:200]}"
        ) from None


def _groups(spec: Object) -> set[str]:
    try:
        subject = _read(spec).subject
    except ValueError:
        return set()
    return {str(a.value) for a in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)}
