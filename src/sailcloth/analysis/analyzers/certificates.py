"""Certificates of Gateways: whether the Secrets exist and hold a usable key pair, and certificates that several Gateways share."""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Iterator

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from sailcloth.api.meta import Finding
from sailcloth.lib.x509_errors import as_value_errors
from sailcloth.mesh import credentials
from sailcloth.mesh.credentials import Credential

from . import gateways, unstructured
from .catalogue import finding
from .objects import ObjectSet
from .unstructured import Object

_PUBLIC = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def secrets(objects: ObjectSet) -> Iterator[Finding]:
    """Secrets that are missing where the Gateway's pods are, or hold no valid certificate with its key."""
    for gateway in objects.of("Gateway"):
        pods = gateways.pods(objects, gateway)
        if not pods:
            continue
        namespace = pods[0].namespace
        for index, server in unstructured.objects(gateway.spec, "servers"):
            tls = unstructured.mapping(server, "tls")
            for path, name in _names(tls):
                at, plain = f"spec.servers[{index}].tls.{path}", name.removeprefix("kubernetes://")
                if "://" in plain:
                    continue
                if objects.get("Secret", namespace, plain) is None:
                    fix = f"Create Secret {plain} in namespace {namespace}, where the gateway's pods are."
                    yield finding("IST0101", gateway.key, at, "credentialName", name, fix=fix)
                    continue
                stored = objects.graph.get(credentials.credential, namespace, plain)
                if reason := problem(stored, objects.now):
                    fix = f"Secret {namespace}/{plain}: {reason}."
                    yield finding("IST0161", gateway.key, at, gateway.key.name, gateway.key.namespace, fix=fix)


def _names(tls: Object) -> Iterator[tuple[str, str]]:
    if name := unstructured.text(tls, "credentialName"):
        yield "credentialName", name
    for index, name in enumerate(unstructured.texts(tls, "credentialNames")):
        yield f"credentialNames[{index}]", name


def problem(stored: Credential | None, now: dt.datetime | None) -> str:
    """Why a certificate with its key is not usable at a time; empty if it is."""
    if stored is None or not stored.chain or not stored.key:
        return "it has no tls.crt with tls.key"
    pair = _pair(stored)
    if pair is None:
        return "its certificate or key is no PEM that can be read"
    if now is not None and now > pair[0].not_valid_after_utc:
        return f"its certificate expired on {pair[0].not_valid_after_utc:%Y-%m-%d}"
    return ""


def _pair(stored: Credential) -> tuple[x509.Certificate, PrivateKeyTypes] | None:
    """The first certificate and the key; None if they cannot be read."""
    try:
        with as_value_errors(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library's, about old certificates that it still reads
            certificate = x509.load_pem_x509_certificates(stored.chain)[0]
            return certificate, serialization.load_pem_private_key(stored.key, None)
    except (ValueError, TypeError):  # TypeError: the key is encrypted
        return None


def key_pairs(objects: ObjectSet) -> Iterator[Finding]:
    """Secrets of Gateways whose key is not the certificate's, which Envoy refuses."""
    for gateway in objects.of("Gateway"):
        for pod in gateways.pods(objects, gateway)[:1]:
            for index, server in unstructured.objects(gateway.spec, "servers"):
                for path, name in _names(unstructured.mapping(server, "tls")):
                    plain = name.removeprefix("kubernetes://")
                    stored = objects.graph.get(credentials.credential, pod.namespace, plain)
                    pair = _pair(stored) if stored is not None and stored.chain and stored.key else None
                    if pair is not None and _public(pair[0]) != _public(pair[1]):
                        at = f"spec.servers[{index}].tls.{path}"
                        yield finding("SAIL1101", gateway.key, at, f"{pod.namespace}/{plain}")


def _public(holder: x509.Certificate | PrivateKeyTypes) -> bytes:
    return holder.public_key().public_bytes(*_PUBLIC)


def shared(objects: ObjectSet) -> Iterator[Finding]:
    """Certificates that another Gateway of the same pods uses, too, so that clients may reuse a connection for the wrong one."""
    users: dict[str, list[tuple[int, int]]] = {}
    every = objects.of("Gateway")
    for position, gateway in enumerate(every):
        for index, server in unstructured.objects(gateway.spec, "servers"):
            tls = unstructured.mapping(server, "tls")
            for name in [n for _, n in _names(tls)] or [unstructured.text(tls, "serverCertificate")]:
                if name:
                    users.setdefault(name, []).append((position, index))
    for found in users.values():
        for position, index in found:
            gateway = every[position]
            own = gateways.selector(gateway).items()
            others = {p for p, _ in found if p != position and own <= gateways.selector(every[p]).items()}
            if others:
                names = [gateways.full_name(every[p]) for p in sorted({position, *others})]
                yield finding("IST0138", gateway.key, f"spec.servers[{index}].tls", names)
