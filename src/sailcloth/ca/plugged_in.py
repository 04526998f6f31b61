"""A CA that an administrator plugs in, as in Istio: the Secret `cacerts` with ca-cert.pem, ca-key.pem, root-cert.pem,
cert-chain.pem and ca-crl.pem.

What does not fit together is refused here, with the file and the remedy, before anything is signed with it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from sailcloth.lib.x509_errors import as_value_errors

from . import revocation
from .authority import Authority, private_key

CA_CERTIFICATE, CA_KEY, ROOTS, CHAIN, REVOKED = (
    "ca-cert.pem",
    "ca-key.pem",
    "root-cert.pem",
    "cert-chain.pem",
    "ca-crl.pem",
)
_LONGEST = 8  # certificates between a leaf and its root


class InvalidCa(ValueError):
    """A CA that cannot be used; the text says which file is wrong and what to do, and contains no secret."""


def load(files: Mapping[str, bytes], now: dt.datetime) -> Authority:
    """The CA in these files. Raises InvalidCa.

    The chain is built from ca-cert.pem and cert-chain.pem, in whatever order they list their certificates; roots that they list,
    too, are left out, since peers have them.
    """
    try:
        with as_value_errors():
            return _load(files, now)
    except InvalidCa:
        raise
    except (ValueError, TypeError) as error:
        raise InvalidCa(f"a certificate of the CA cannot be read ({type(error).__name__}); make it anew") from None


def _load(files: Mapping[str, bytes], now: dt.datetime) -> Authority:
    own = _certificates(files, CA_CERTIFICATE)
    roots = tuple(_certificates(files, ROOTS))
    others = [*own[1:], *(_certificates(files, CHAIN) if files.get(CHAIN, b"").strip() else ())]
    certificate = own[0]
    try:
        key = private_key(files.get(CA_KEY, b""), certificate)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidCa(f"{CA_KEY}: {error}; it must be the PEM key of {CA_CERTIFICATE}") from None
    chain, root = _chain(certificate, others, roots)
    for each in dict.fromkeys((certificate, *chain, root)):
        _may_sign(each, now)
    return Authority(certificate, key, chain, roots, root)


def revoked(files: Mapping[str, bytes]) -> bytes:
    """The certificate revocation lists of ca-crl.pem; empty if there are none. Raises InvalidCa."""
    text = files.get(REVOKED, b"")
    try:
        lists = revocation.split(text)
    except ValueError:
        lists = []
    if text.strip() and not lists:
        raise InvalidCa(f"{REVOKED} holds no certificate revocation list in PEM")
    return b"".join(lists)


def _certificates(files: Mapping[str, bytes], name: str) -> list[x509.Certificate]:
    if not files.get(name, b"").strip():
        raise InvalidCa(f"{name} is missing; the Secret needs {CA_CERTIFICATE}, {CA_KEY}, {ROOTS} and {CHAIN}")
    try:
        with as_value_errors():
            return x509.load_pem_x509_certificates(files[name])
    except ValueError:
        raise InvalidCa(f"{name} holds no certificate in PEM") from None


def _chain(
    certificate: x509.Certificate, others: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]
) -> tuple[tuple[x509.Certificate, ...], x509.Certificate]:
    """(certificates below the root, the root)."""
    path: list[x509.Certificate] = []
    current = certificate
    while current not in roots:
        path.append(current)
        issuer = next((c for c in (*roots, *others) if c not in path and _issued(c, current)), None)
        if issuer is None or len(path) > _LONGEST:
            name = current.subject.rfc4514_string() or "the CA's certificate"
            text = f"no certificate of {ROOTS} or {CHAIN} issued {name}"
            raise InvalidCa(f"{text}; add its issuer to {CHAIN}, or its root to {ROOTS}")
        current = issuer
    return tuple(path), current


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _may_sign(certificate: x509.Certificate, now: dt.datetime) -> None:
    name = certificate.subject.rfc4514_string() or f"serial number {certificate.serial_number:x}"
    if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
        times = (
            f"from {certificate.not_valid_before_utc:%Y-%m-%d} to {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        )
        raise InvalidCa(f"the certificate of {name} is valid {times} only; renew it")
    try:
        authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        authority = False
    try:
        signs = certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        signs = True
    if not (authority and signs):
        raise InvalidCa(f"the certificate of {name} is not one of a CA; it needs CA:TRUE and the usage keyCertSign")
