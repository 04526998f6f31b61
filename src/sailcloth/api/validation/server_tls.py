"""Validates TLS settings of servers: which certificates a mode needs, and which settings it does not allow."""

from __future__ import annotations

import re
from typing import Any, Final

from sailcloth.api.gateway import ServerTLSSettings

from . import codes
from .report import Report

_VERSIONS: Final = ("TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3")
_CIPHERS: Final = frozenset(
    [
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
        "ECDHE-ECDSA-AES128-SHA",
        "ECDHE-RSA-AES128-SHA",
        "ECDHE-ECDSA-AES256-SHA",
        "ECDHE-RSA-AES256-SHA",
        "ECDHE-RSA-AES128-SHA256",
        "AES128-GCM-SHA256",
        "AES256-GCM-SHA384",
        "AES128-SHA",
        "AES256-SHA",
        "DES-CBC3-SHA",
        "ECDHE-PSK-AES128-CBC-SHA",
        "ECDHE-PSK-AES256-CBC-SHA",
        "ECDHE-PSK-CHACHA20-POLY1305",
        "PSK-AES128-CBC-SHA",
        "PSK-AES256-CBC-SHA",
    ]
)
CURVES: Final = ("X25519MLKEM768", "X25519", "P-256", "P-384", "P-521")
_SPKI: Final = re.compile(r"[A-Za-z0-9+/]{43}=\Z")
_HASH: Final = re.compile(r"(?:[0-9a-fA-F]{64}|(?:[0-9a-fA-F]{2}:){31}[0-9a-fA-F]{2})\Z")
_VERIFYING: Final = ("MUTUAL", "OPTIONAL_MUTUAL")


def check(report: Report, path: str, tls: ServerTLSSettings) -> None:
    """The TLS settings of a server."""
    _ciphers(report, path, tls)
    for index, curve in enumerate(tls.ecdh_curves):
        if curve not in CURVES:
            text = f"{curve!r} is not a key-exchange group"
            report.error(codes.CHOICE, f"{path}.ecdhCurves[{index}]", text, f"Use one of {', '.join(CURVES)}.")
    _versions(report, path, tls)
    _pins(report, path, tls)
    sources: dict[str, Any] = {
        "credentialName": tls.credential_name,
        "credentialNames": tls.credential_names,
        "tlsCertificates": tls.tls_certificates,
        "serverCertificate": tls.server_certificate,
    }
    sources_set = [name for name, value in sources.items() if value]
    if tls.mode == "ISTIO_MUTUAL":
        for name in [
            *sources_set,
            *(["privateKey"] if tls.private_key else []),
            *(["caCertificates"] if tls.ca_certificates else []),
        ]:
            text = f"mode ISTIO_MUTUAL uses the mesh's own certificates and cannot have {name}"
            report.error(codes.TLS, f"{path}.{name}", text, "Remove it, or use mode MUTUAL.")
        return
    if tls.mode in (None, "PASSTHROUGH", "AUTO_PASSTHROUGH"):
        for name in sources_set:
            text = f"mode {tls.mode or 'PASSTHROUGH'} does not terminate TLS, so {name} is not used"
            report.warning(codes.NO_EFFECT, f"{path}.{name}", text, "Remove it, or use mode SIMPLE.")
        return
    if tls.ca_crl and (tls.credential_name or tls.credential_names):
        text = "caCrl and credentialName are mutually exclusive"
        report.error(codes.TLS, f"{path}.caCrl", text, "Put the list into the Secret, as ca.crl.")
    if len(sources_set) > 1:
        text = f"{' and '.join(sources_set)} are mutually exclusive"
        report.error(codes.TLS, path, text, "Keep one source of certificates.")
    for name, count in (("credentialNames", len(tls.credential_names)), ("tlsCertificates", len(tls.tls_certificates))):
        if count > 2:
            text = f"{count} certificates are given, at most two are allowed"
            report.error(codes.TLS, f"{path}.{name}", text, "Keep one for RSA and one for ECDSA.")
    if tls.credential_name or tls.credential_names:
        return
    _files(report, path, tls)


def _files(report: Report, path: str, tls: ServerTLSSettings) -> None:
    """Certificates in files: checks that all files for the mode are set."""
    for index, certificate in enumerate(tls.tls_certificates):
        for name, value in (
            ("serverCertificate", certificate.server_certificate),
            ("privateKey", certificate.private_key),
        ):
            if not value:
                text = f"the certificate has no {name}"
                report.error(codes.TLS, f"{path}.tlsCertificates[{index}].{name}", text, "Name the file.")
    needed: list[tuple[str, Any]] = []
    if not tls.tls_certificates:
        needed += [("serverCertificate", tls.server_certificate), ("privateKey", tls.private_key)]
    if tls.mode in _VERIFYING and not tls.ca_cert_credential_name:
        needed.append(("caCertificates", tls.ca_certificates))
    for name, value in needed:
        if not value:
            text = f"mode {tls.mode} needs a {name}"
            report.error(codes.TLS, f"{path}.{name}", text, "Name the file, or give a credentialName.")


def _versions(report: Report, path: str, tls: ServerTLSSettings) -> None:
    indexes = []
    for name, version in (
        ("minProtocolVersion", tls.min_protocol_version),
        ("maxProtocolVersion", tls.max_protocol_version),
    ):
        if version and version not in _VERSIONS:
            text = f"{version!r} is not a TLS version"
            report.error(codes.CHOICE, f"{path}.{name}", text, f"Use one of {', '.join(_VERSIONS)}.")
        indexes.append(_VERSIONS.index(version) if version in _VERSIONS else 0)
    if indexes[0] in (1, 2) and not tls.cipher_suites:
        text = f"the default cipher suites need TLSV1_2, so {_VERSIONS[indexes[0]]} is not offered"
        report.warning(codes.NO_EFFECT, f"{path}.minProtocolVersion", text, "Give cipherSuites, or use TLSV1_2.")
    if indexes[1] and indexes[0] > indexes[1]:
        text = "the minimum version is above the maximum version"
        report.error(codes.TLS, f"{path}.minProtocolVersion", text, "Exchange them.")


def _pins(report: Report, path: str, tls: ServerTLSSettings) -> None:
    """Hashes of client certificates, in the forms that Envoy accepts."""
    for name, values, form, text, fix in (
        (
            "verifyCertificateSpki",
            tls.verify_certificate_spki,
            _SPKI,
            "base64",
            "Give the 44 characters of its base64.",
        ),
        ("verifyCertificateHash", tls.verify_certificate_hash, _HASH, "hexadecimal", "Give its 64 digits."),
    ):
        for index, value in enumerate(values):
            if not form.match(value):
                problem = f"{value!r} is not a SHA-256 in {text}"
                report.error(codes.TLS, f"{path}.{name}[{index}]", problem, fix)


def _ciphers(report: Report, path: str, tls: ServerTLSSettings) -> None:
    seen: set[str] = set()
    for index, cipher in enumerate(tls.cipher_suites):
        at = f"{path}.cipherSuites[{index}]"
        if cipher in seen:
            report.warning(codes.DUPLICATE, at, f"cipher suite {cipher!r} is given twice", "Remove one of them.")
        elif not all(part in _CIPHERS for part in cipher.strip("[]").split("|")):
            text = f"cipher suite {cipher!r} is unknown and ignored"
            report.warning(codes.NO_EFFECT, at, text, "Use a name such as ECDHE-RSA-AES128-GCM-SHA256.")
        seen.add(cipher)
