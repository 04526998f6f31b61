"""Certificates and keys in files of a proxy's container, with the secret names `file-cert:CERT~KEY` and `file-root:CA[~CRL]`.

The agent of a node does not run in the container, so it resolves paths through the container's volumes. Only the system's root
certificates are read outside them.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from sailcloth.lib import namespaces as ns

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
    """The files of one container, by its mounts: (path in the container, the volume's folder on the host, path in the volume)."""

    mounts: tuple[tuple[str, str, str], ...] = ()

    @classmethod
    def from_container(cls, pod: dict[str, Any], container: dict[str, Any], pod_dir: Path) -> MountedFiles:
        """The mounts of a container spec."""
        folders = {
            v["name"]: v["hostPath"]["path"] if "hostPath" in v else str(pod_dir / "volumes" / v["name"])
            for v in pod["spec"].get("volumes") or ()
        }
        matches = [
            (m["mountPath"].rstrip("/"), folders[m["name"]], str(m.get("subPath") or ""))
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
        for target, folder, sub_path in self.mounts:
            if inside == target or inside.startswith(target + "/"):
                try:
                    return _content_beneath(folder, sub_path, inside[len(target) :].strip("/"))
                except OSError as error:
                    if error.errno != errno.EXDEV:
                        raise
                    raise PermissionError(f"{path} leads out of its volume") from None
        if inside.startswith(tuple(s + "/" for s in _SYSTEM)):
            return _content(inside)
        raise PermissionError(f"{path} is in no volume of the proxy's container")

    def open(self, path: str) -> int:
        """A descriptor (O_PATH) of what a path in the container's volumes names. Raises OSError, PermissionError for a path outside."""
        inside = os.path.normpath(os.path.join("/", path))
        for target, folder, sub_path in self.mounts:
            if inside.startswith(target + "/"):
                volume = os.open(folder, os.O_PATH | os.O_CLOEXEC)
                try:
                    return ns.open_beneath(volume, os.path.join(sub_path, inside[len(target) :].strip("/")))
                finally:
                    os.close(volume)
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


def _content(path: str, fd: int = -1) -> bytes:
    with open(path if fd < 0 else fd, "rb") as file:
        result = file.read(_MAX_BYTES + 1)
    if len(result) > _MAX_BYTES:
        raise OSError(f"{path} is larger than 1 MiB")
    return result


class OwnFiles(MountedFiles):
    """For an agent in the container: it sees what the proxy sees."""

    def read(self, path: str) -> bytes:
        return super().read(path) if path == SYSTEM_ROOTS else _content(os.path.join("/", path))

    def open(self, path: str) -> int:
        return os.open(os.path.join("/", path), os.O_PATH | os.O_CLOEXEC)


def _content_beneath(folder: str, sub_path: str, path: str) -> bytes:
    """The content of a file in a volume, whose links cannot lead out of it, even if they change meanwhile."""
    fds = [os.open(folder, os.O_PATH | os.O_CLOEXEC)]
    try:
        fds.append(ns.open_beneath(fds[0], sub_path))
        flags = os.O_RDONLY | os.O_NONBLOCK  # a pipe must not stop the agent
        file = ns.open_beneath(fds[1], path, flags) if path else os.open(f"/proc/self/fd/{fds[1]}", flags)
        return _content(path or sub_path, file)
    finally:
        for fd in fds:
            os.close(fd)
