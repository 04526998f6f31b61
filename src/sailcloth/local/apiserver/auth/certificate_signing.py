"""Certificate signing requests: the requester, who may approve or sign, and the certificate of an approved request.

The cluster signs for `kubernetes.io/kube-apiserver-client` only; requests to other signers wait for an external signer. It never
approves, and signs no certificate for a group that bypasses authorization, such as `system:masters`.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ..errors import StatusError
from ..kinds.certificates import CERTIFICATE_SIGNING_REQUEST, CLIENT_USAGES, conditions_true, parse_request
from ..storage import Store
from ..unstructured import Unstructured
from . import authorization
from .authentication import User
from .pki import KeyPair

REQUESTS = CERTIFICATE_SIGNING_REQUEST.group_resource
CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"
_LONGEST_S = 365 * 86_400
_SHORTEST_RSA = 2048


def set_requester(obj: Unstructured, user: User) -> None:
    """Set the requester of a new request to its sender and drop any status, in place. Raises StatusError."""
    obj.pop("status", None)
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        return
    for key in ("username", "uid", "groups", "extra"):
        spec.pop(key, None)
    spec.update(user.info())
    if spec.get("signerName") == CLIENT_SIGNER and (refused := _privileged(spec)):
        text = f"use of {CLIENT_SIGNER} signer with {refused} group is not allowed"
        raise StatusError(403, "Forbidden", f'{REQUESTS} "{obj["metadata"].get("name", "")}" is forbidden: {text}')


def authorize_decision(store: Store, live: Unstructured, new: Unstructured, sub: str, user: User) -> None:
    """Raises StatusError if the user may not approve, or sign, for the request's signer."""
    verb = {"approval": "approve", "status": "sign"}.get(sub)
    if verb is None or live.get("status") == new.get("status"):
        return
    signer = str(live["spec"].get("signerName"))
    for name in (signer, f"{signer.partition('/')[0]}/*"):
        if authorization.is_allowed(
            store, user.name, user.groups, authorization.Attributes(verb, "certificates.k8s.io", "signers", name=name)
        ):
            return
    text = f'user not permitted to {verb} requests with signerName "{signer}"'
    raise StatusError(403, "Forbidden", f'{REQUESTS} "{live["metadata"]["name"]}" is forbidden: {text}')


def awaits_signature(obj: Unstructured) -> bool:
    """Whether the cluster's signer must issue a certificate for this request."""
    open_ = conditions_true(obj) & {"Approved", "Denied", "Failed"} == {"Approved"}
    return open_ and obj["spec"].get("signerName") == CLIENT_SIGNER and not obj["status"].get("certificate")


def issue(ca: KeyPair, obj: Unstructured) -> bytes:
    """The certificate of an approved request, in PEM. Raises ValueError for a request that this signer does not sign."""
    spec = obj["spec"]
    request, usages = parse_request(spec), {*spec["usages"]}
    if "client auth" not in usages or usages - CLIENT_USAGES:
        raise ValueError(f"usages must include 'client auth' and no other than {', '.join(sorted(CLIENT_USAGES))}")
    if refused := _privileged(spec):
        raise ValueError(f"a certificate for the group {refused} is not signed")
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


def _privileged(spec: Unstructured) -> str:
    """A group in the request's subject that bypasses authorization; empty if there is none."""
    return next(iter(sorted(_groups(spec) & authorization.PRIVILEGED_GROUPS)), "")


def _groups(spec: Unstructured) -> set[str]:
    try:
        subject = parse_request(spec).subject
    except ValueError:
        return set()
    return {str(a.value) for a in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)}
