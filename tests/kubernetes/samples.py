"""Images of the sample applications for a real node: the programs that the local cluster runs under the same names, with Debian's Python."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from images import build, oci
from sailcloth.local import images

from .node import Node

_USER = "1000:1000"  # not the proxy's, whose traffic is not captured
_PROGRAMS, _PYTHON = "samples/programs", "/usr/bin/python3"


def import_images(running: Node, manifest: Path, folder: Path) -> None:
    """Put the images on the node that the Deployments of a manifest name."""
    programs = folder / "programs.layer"
    oci.layer(programs, [(_PROGRAMS, images.programs())])
    layers = (*build._base(fresh=False), programs)
    for reference in _references(manifest):
        archive = folder / "sample.tar"
        oci.write(oci.Image(reference, layers, _command(reference), _USER, _environment(reference)), archive)
        running.import_image(archive)
        archive.unlink()


def _references(manifest: Path) -> list[str]:
    objects = [each for each in yaml.safe_load_all(manifest.read_text()) if each]
    pods = [each["spec"]["template"]["spec"] for each in objects if each["kind"] == "Deployment"]
    return sorted({container["image"] for pod in pods for container in pod["containers"]})


def _image(reference: str) -> images.Image:
    found = images.resolve(reference)
    assert found is not None, reference
    return found


def _command(reference: str) -> tuple[str, ...]:
    there = {sys.executable: _PYTHON}
    words = (*_image(reference).entrypoint, *_image(reference).cmd)
    return tuple(there.get(word, word.replace(str(images.programs()), f"/{_PROGRAMS}")) for word in words)


def _environment(reference: str) -> dict[str, str]:
    return {**_image(reference).env, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
