"""Certificate requests (PKCS#10) of workloads: all that is read of them is a public key, and names only to refuse foreign ones."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sailcloth.lib.x509_errors import as_value_errors

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
MAX_BYTES = 16 << 10
_RSA_BITS = (2048, 8192)  # shorter ones are weak, longer ones cost peers too much at each handshake


class CsrRefused(Exception):
    """A request that must not be signed; the text says why, and contains no secret."""


class CsrMalformed(CsrRefused):
    """It is no certificate request at all."""


def public_key(csr_pem: bytes, uri: str) -> PublicKey:
    """The key to certify for the identity `uri`.

    Raises CsrMalformed for what is no PEM PKCS#10, and CsrRefused if it is not signed by its own key, has a weak key, or asks
    for names that are not the identity's.
    """
    if len(csr_pem) > MAX_BYTES:
        raise CsrMalformed(f"certificate request is larger than {MAX_BYTES} bytes")
    try:
        with as_value_errors():
            csr = x509.load_pem_x509_csr(csr_pem)
            key = csr.public_key()
            valid = csr.is_signature_valid
            alternatives = csr.extensions
    except (ValueError, TypeError, InvalidSignature) as error:
        raise CsrMalformed("certificate request is not valid PEM PKCS#10") from error
    if not valid:
        raise CsrRefused("certificate request is not signed by its own key")
    if isinstance(key, rsa.RSAPublicKey):
        if not _RSA_BITS[0] <= key.key_size <= _RSA_BITS[1]:
            word = "short" if key.key_size < _RSA_BITS[0] else "long"
            raise CsrRefused(f"RSA key of {key.key_size} bits is too {word}; use 2048 to 8192")
    elif not isinstance(key, ec.EllipticCurvePublicKey) or key.key_size < 256:
        raise CsrRefused("key type is not supported; use ECDSA P-256, or RSA with 2048 bits")
    try:
        asked = alternatives.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return key
    foreign = [str(n.value) for n in asked if str(n.value) != uri]
    if foreign:
        raise CsrRefused(f"certificate request asks for the name {foreign[0]!r}, but the caller is {uri}")
    return key
