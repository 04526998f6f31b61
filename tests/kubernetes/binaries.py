"""Builds Kubernetes' programs out of its public Go modules, once for a machine: `python -m tests.kubernetes.binaries`; with `--istio` also
Istio's, for the tests that take over from it.

They stay in the user's cache, `$XDG_CACHE_HOME/sailcloth/kubernetes/<version>`. A program gets its name there only when it is whole, and
one build at a time holds the cache's lock, so two runs or an interrupted one do no harm. Needs Go and a module proxy, no C compiler.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

VERSION = "1.36.3"
NAMES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
PROGRAMS = Path(__file__).parent / "programs"  # of our own, one folder each: what runs in pods
_REPLACED = re.compile(r"^(\s*)(k8s\.io/[a-z-]+) => \./staging/src/\S+$", re.MULTILINE)
# Without a version of this form `kubectl version` fails, and features are judged by it.
_STAMP = {"gitVersion": f"v{VERSION}", "gitMajor": "1", "gitMinor": VERSION.split(".")[1], "gitTreeState": "clean"}


@dataclass(frozen=True)
class Source:
    """A Go module, and its programs: name to import path. `stamp`: flags of the linker."""

    module: str
    version: str
    programs: dict[str, str]
    stamp: str = ""


KUBERNETES = Source(
    "k8s.io/kubernetes",
    f"v{VERSION}",
    {name: f"k8s.io/kubernetes/cmd/{name}" for name in NAMES},
    " ".join(f"-X k8s.io/component-base/version.{key}={value}" for key, value in _STAMP.items()),
)
ISTIO = Source(
    "istio.io/istio",
    "v0.0.0-20260827124520-eed52ebb66ad",  # of the release 1.31, the newest that the module proxy has
    {
        "pilot-discovery": "istio.io/istio/pilot/cmd/pilot-discovery",
        "istioctl": "istio.io/istio/istioctl/cmd/istioctl",
    },
)


class BuildError(Exception):
    """A program could not be built. The text says why, and what to do."""


def cache() -> Path:
    """The folder of all programs of this version."""
    above = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(above) / "sailcloth" / "kubernetes" / VERSION


def path(name: str) -> Path:
    """Where a program of Kubernetes is, once it is built."""
    return cache() / name


def missing(source: Source = KUBERNETES) -> list[str]:
    """The names of those that are not built yet."""
    return [name for name in source.programs if not path(name).exists()]


def go() -> str | None:
    """The Go command, also where it is installed but not on the search path."""
    return shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:/usr/lib/go/bin")


def build(source: Source = KUBERNETES) -> None:
    """Build what is missing; says on standard output what it does. Raises BuildError."""
    with _lock():
        names = missing(source)
        if not names:
            return
        command = _go_command()
        print(
            f"{source.module} {source.version}: {len(names)} programs to build in {cache()}; the first takes some minutes",
            flush=True,
        )
        module = _write_module(command, source)
        for name in names:
            _build_one(command, module, source.programs[name], path(name), source.stamp)


def build_program(name: str) -> Path:
    """The static program of the folder `programs/<name>`, built if its source has changed. Raises BuildError."""
    source = PROGRAMS / name
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in sorted(source.iterdir()))).hexdigest()[:16]
    program = cache() / "programs" / f"{name}-{digest}"
    if not program.exists():
        with _lock():
            program.parent.mkdir(exist_ok=True)
            _build_one(_go_command(), source, ".", program, "")
    return program


@contextmanager
def _lock() -> Iterator[None]:
    """One build at a time; the kernel lets go of the lock when its holder ends, however that is."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another build of Kubernetes on this machine", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _go_command() -> str:
    command = go()
    if command is None:
        raise BuildError("there is no `go` to build Kubernetes with: install Go 1.26 or newer")
    return command


def _environment() -> dict[str, str]:
    # The same for all programs: each difference would build the packages they share once more.
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false -mod=mod -trimpath", "GOWORK": "off"}


def _write_module(go_command: str, wanted: Source) -> Path:
    """A module that the commands can be built from: its own go.mod, with the parts that Kubernetes' repository has in `staging` taken
    from where they are published, v0.36.3 for v1.36.3."""
    answer = subprocess.run(
        [go_command, "mod", "download", "-json", f"{wanted.module}@{wanted.version}"],
        cwd="/",
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        raise BuildError(
            f"{wanted.module} {wanted.version} cannot be fetched from the module proxy: {answer.stdout}{answer.stderr}"
        )
    source = Path(json.loads(answer.stdout)["Dir"])
    published = "v0." + VERSION.split(".", 1)[1]
    text = (source / "go.mod").read_text()
    text = re.sub(r"^module .*$", "module sailcloth.invalid/programs", text, count=1, flags=re.MULTILINE)
    text = _REPLACED.sub(rf"\1\2 => \2 {published}", text)
    module = cache() / "modules" / wanted.module
    module.mkdir(parents=True, exist_ok=True)
    (module / "go.mod").write_text(f"{text}\nrequire {wanted.module} {wanted.version}\n")
    shutil.copyfile(source / "go.sum", module / "go.sum")
    (module / "go.sum").chmod(0o644)
    return module


def _build_one(go_command: str, module: Path, package: str, program: Path, stamp: str) -> None:
    began = time.monotonic()
    print(f"building {program.name}…", flush=True)
    unfinished = program.with_name(f".{program.name}.unfinished")
    command = [go_command, "build", "-ldflags", f"-s -w {stamp}", "-o", str(unfinished), package]
    if subprocess.run(command, cwd=module, env=_environment(), check=False).returncode:
        unfinished.unlink(missing_ok=True)
        raise BuildError(f"{program.name} was not built; what Go says is above")
    unfinished.rename(program)
    size = program.stat().st_size / 1e6
    print(f"built {program.name} in {time.monotonic() - began:.0f} s, {size:.0f} MB", flush=True)


def main() -> int:
    try:
        build()
        if "--istio" in sys.argv[1:]:
            build(ISTIO)
    except BuildError as error:
        print(f"kubernetes: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
