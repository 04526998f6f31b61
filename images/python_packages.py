"""The layers of Python packages: what Sailcloth needs, in the versions of the lock file, and Sailcloth itself, as its wheel has it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from . import oci
from .compiled import compile_modules
from .debian import PYTHON
from .errors import BuildError

ROOT = Path(__file__).parents[1]
FOLDER = "opt/sailcloth"  # in the image, on Python's path
_LOCK = ROOT / "requirements.lock"
_ENTRY = re.compile(r"^([A-Za-z0-9._-]+)==", re.MULTILINE)


def dependencies(folder: Path, target: Path, left_out: frozenset[str]) -> None:
    """Write the layer of all packages that Sailcloth needs, but those in `left_out`. `folder`: an empty one to work in."""
    names = sorted(_closure("sailcloth", left_out))
    lock = _locked()
    chosen = folder / "requirements.txt"
    chosen.write_text("".join(lock[name] for name in names))
    _install(folder / "site", "--require-hashes", "-r", str(chosen))
    _write(folder / "site", target)


def sailcloth(folder: Path, target: Path, commands: Mapping[str, str], page: bool) -> None:
    """Write the layer of Sailcloth itself. `folder`: an empty one to work in. `commands`: by name the module whose `main` takes its
    arguments and returns the exit code. `page`: with the console's page, which a hook of the build puts into the wheel."""
    environment = {**os.environ, **({} if page else {"HATCH_BUILD_NO_HOOKS": "true"})}
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "wheel")]
    _run(build, "the wheel was not built", environment)
    (wheel,) = (folder / "wheel").glob("*.whl")
    _install(folder / "site", str(wheel))
    if page and not (folder / "site" / "sailcloth" / "console" / "page" / "index.html").exists():
        raise BuildError("the console has no page: `make page` says why it is not built")
    (folder / "bin").mkdir()
    for name, module in commands.items():
        command = folder / "bin" / name
        command.write_text(
            f"#!/usr/bin/python3\nimport sys\n\nfrom {module} import main\n\nsys.exit(main(sys.argv[1:]))\n"
        )
        command.chmod(0o755)
    _write(folder / "site", target, ("usr/local/bin", folder / "bin"))


def _install(site: Path, *what: str) -> None:
    # Nothing is built from source: that would need a compiler, and the libraries of the image.
    options = ["--no-deps", "--only-binary=:all:", f"--python-version={PYTHON}", "--target", str(site)]
    _run([sys.executable, "-m", "uv", "pip", "install", "--quiet", *options, *what], "packages were not installed")


def _run(command: list[str], wrong: str, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{wrong}:\n{done.stdout}{done.stderr}")


def _write(site: Path, target: Path, *more: tuple[str, Path]) -> None:
    for note in site.glob(
        "sailcloth-*.dist-info/*"
    ):  # of where and when it was installed, which differs from build to build
        if note.name in ("RECORD", "direct_url.json", "uv_cache.json"):
            note.unlink()
    compile_modules(site, FOLDER, PYTHON)
    (site / ".lock").unlink(missing_ok=True)
    oci.layer(target, [(FOLDER, site), *more])


def _locked() -> dict[str, str]:
    """The entries of the lock file, hashes included, by name."""
    text = _LOCK.read_text()
    starts = [*_ENTRY.finditer(text)]
    ends = [*(entry.start() for entry in starts[1:]), len(text)]
    return {canonicalize_name(e[1]): text[e.start() : end] for e, end in zip(starts, ends, strict=True)}


def _closure(name: str, left_out: frozenset[str]) -> set[str]:
    """The packages that one needs, and those that they need, without extras."""
    found: set[str] = set()
    ahead = [*_requirements(name)]
    while ahead:
        each = ahead.pop()
        if each not in found and each not in left_out:
            found.add(each)
            ahead += _requirements(each)
    return found


def _requirements(name: str) -> Iterator[str]:
    environment = {"extra": "", "python_version": PYTHON, "python_full_version": f"{PYTHON}.0"}
    for line in metadata.requires(name) or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            yield canonicalize_name(requirement.name)
