"""Certificates and keys in files of a proxy's container, with the secret names `file-cert:CERT~KEY` and `file-root:CA[~CRL]`.

The agent does not run in the container, so it resolves paths through the container's volumes. Only the system's root
certificates are read outside them.
"""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

log = logging.getLogger(__name__)

CERTIFICATE, ROOTS = "file-cert:", "file-root:"
_POLL_S = 1.0
_MAX_BYTES = 1 << 20
SYSTEM_ROOTS = "system"
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_SYSTEM = ("/etc/ssl", "/etc/pki", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates")


@dataclass(frozen=True)
class MountedFiles:
    """The files of one container, by its mounts: (path in the container, path on the host)."""

    mounts: tuple[tuple[str, str], ...] = ()

    @classmethod
    def from_container(cls, pod: dict[str, Any], container: dict[str, Any], pod_dir: Path) -> MountedFiles:
        """The mounts of a container spec."""
        folders = {
            v["name"]: v["hostPath"]["path"] if "hostPath" in v else str(pod_dir / "volumes" / v["name"])
            for v in pod["spec"].get("volumes") or ()
        }
        matches = [
            (m["mountPath"].rstrip("/"), os.path.join(folders[m["name"]], m.get("subPath", "")).rstrip("/"))
            for m in container.get("volumeMounts") or ()
            if m["name"] in folders
        ]
        return cls(tuple(sorted(matches, key=lambda m: -len(m[0]))))

    def read(self, path: str) -> bytes:
        """The content of a file at most 1 MiB large. Raises OSError, PermissionError for a path outside the volumes."""
        if path == SYSTEM_ROOTS:
            match = next((b for b in _BUNDLES if os.path.isfile(b)), None)
            if match is None:
                raise OSError("the system has no root certificates; install the package ca-certificates")
            return _content(match)
        inside = os.path.normpath(os.path.join("/", path))
        for target, source in self.mounts:
            if inside == target or inside.startswith(target + "/"):
                real = os.path.realpath(source + inside[len(target) :])
                top = os.path.realpath(source)
                if real != top and not real.startswith(top + "/"):
                    break
                return _content(real)
        if inside.startswith(tuple(s + "/" for s in _SYSTEM)):
            return _content(inside)
        raise PermissionError(f"{path} is in no volume of the proxy's container")

    async def wait_for_version_after(self, name: str, after: str) -> tuple[str, secret_pb2.Secret]:
        """Wait until a secret's files exist and its version differs from `after`. Returns (version, secret)."""
        logged = ""
        while True:
            try:
                created = self._secret(name)
            except OSError as error:
                if str(error) != logged:
                    log.warning("secret %s: %s", name, error)
                    logged = str(error)
            else:
                version = blake2b(created.SerializeToString(deterministic=True), digest_size=8).hexdigest()
                if version != after:
                    return version, created
            await asyncio.sleep(_POLL_S)

    def _secret(self, name: str) -> secret_pb2.Secret:
        out = secret_pb2.Secret(name=name)
        if name.startswith(ROOTS):
            roots, _, revoked = name.removeprefix(ROOTS).partition("~")
            out.validation_context.trusted_ca.inline_bytes = self.read(roots)
            if revoked:
                out.validation_context.crl.inline_bytes = self.read(revoked)
        else:
            chain, _, key = name.removeprefix(CERTIFICATE).partition("~")
            out.tls_certificate.certificate_chain.inline_bytes = self.read(chain)
            out.tls_certificate.private_key.inline_bytes = self.read(key)
        return out


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        result = file.read(_MAX_BYTES + 1)
    if len(result) > _MAX_BYTES:
        raise OSError(f"{path} is larger than 1 MiB")
    return result
