"""The lowest layer of all images: Debian's Python and certificates, without a shell and without a package manager.

Debian's packages are only unpacked: none of their scripts runs, so this needs neither root nor a container.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from . import oci
from .compiled import compile_modules
from .errors import BuildError

SUITE = "bookworm"
PYTHON = "3.11"  # of the suite
USER, GROUP = 1337, 1337  # of Istio's images, by which captured traffic is told from a proxy's
_LIBRARY = f"usr/lib/python{PYTHON}"
_MODULE = re.compile(rf"(\./)?{re.escape(_LIBRARY)}/[\w./-]+\.py")
_PACKAGES = (
    "base-files",
    "ca-certificates",
    "libstdc++6",
    "netbase",
    "python3",
)  # the third for modules written in C++
# They come along as dependencies of what other packages do when they are installed.
_LEFT_OUT = (
    "/etc/apt/*",
    "/etc/cron.daily/*",
    "/etc/dpkg/*",
    "/usr/bin/deb*",
    "/usr/bin/dpkg*",
    "/usr/bin/update-alternatives",
    "/usr/lib/apt/*",
    "/usr/lib/dpkg/*",
    "/usr/sbin/dpkg*",
    "/usr/share/doc/*",
    "/usr/share/info/*",
    "/usr/share/lintian/*",
    "/usr/share/locale/*",
    "/usr/share/man/*",
    "/usr/share/perl5/*",
)
# What an image without a package manager has, as scanners and `sbom` read it.
_RECORD = """\
mkdir -p "$1/var/lib/dpkg/status.d"
for file in "$1"/var/cache/apt/archives/*.deb; do
  dpkg-deb -f "$file" > "$1/var/lib/dpkg/status.d/$(dpkg-deb -f "$file" Package)"
done"""
_KEPT = ("/usr/share/doc/*/copyright",)  # their licences ask for it
_ACCOUNTS = {
    "etc/passwd": f"root:x:0:0:root:/root:/usr/sbin/nologin\nistio-proxy:x:{USER}:{GROUP}::/:/usr/sbin/nologin\n",
    "etc/group": f"root:x:0:\nistio-proxy:x:{GROUP}:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


def build(target: Path) -> tuple[Path, Path]:
    """The layers `<target>` and `<target>.accounts`, as tar files, built anew. Takes half a minute. Raises BuildError."""
    program = shutil.which("mmdebstrap")
    if program is None:
        raise BuildError("there is no `mmdebstrap` to unpack Debian's packages with: install the package mmdebstrap")
    unfinished = target.with_name(f".{target.name}.unfinished.tar")
    rules = [f"path-exclude={path}" for path in _LEFT_OUT] + [f"path-include={path}" for path in _KEPT]
    command = [
        program,
        "--quiet",
        "--variant=extract",
        "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
        f"--include={','.join(_PACKAGES)}",
        f"--extract-hook={_RECORD}",
        *(f"--dpkgopt={rule}" for rule in rules),
        SUITE,
        str(unfinished),
    ]
    # Times of files depend on the packages alone.
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        unfinished.unlink(missing_ok=True)
        raise BuildError(f"Debian's packages were not unpacked; mmdebstrap says:\n{done.stderr}")
    accounts = target.with_name(f"{target.name}.accounts")
    with tempfile.TemporaryDirectory() as folder:
        _write_accounts(unfinished, Path(folder), accounts)
    unfinished.rename(target)
    return target, accounts


def _write_accounts(base: Path, folder: Path, target: Path) -> None:
    """The layer of what the scripts of packages would make: accounts, one file of all authorities, and compiled modules of Python."""
    entries = []
    for path, content in _ACCOUNTS.items():
        file = folder / Path(path).name
        file.write_text(content)
        entries.append((path, file))
    bundle = folder / "ca-certificates.crt"
    with tarfile.open(base) as tar:
        certificates = [m for m in tar if m.isfile() and m.name.endswith(".crt") and "/ca-certificates/" in m.name]
        bundle.write_bytes(b"".join(_content(tar, m) for m in certificates))
        for module in (m for m in tar if m.isfile() and _MODULE.fullmatch(m.name)):
            file = folder / module.name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(_content(tar, module))
    compile_modules(folder / _LIBRARY, _LIBRARY, PYTHON)
    compiled = ((str(path.relative_to(folder)), path) for path in sorted(folder.rglob("__pycache__")))
    oci.layer(target, [*entries, ("etc/ssl/certs/ca-certificates.crt", bundle), *compiled])


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    opened = tar.extractfile(member)
    return opened.read() if opened is not None else b""
