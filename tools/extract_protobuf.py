"""Regenerates the table of protobuf messages that the embedded API server reads, from the Go modules of Kubernetes' types.

Usage: go mod download -json k8s.io/api@v0.32.0 k8s.io/apimachinery@v0.32.0 k8s.io/apiextensions-apiserver@v0.32.0
       python tools/extract_protobuf.py DIR_OF_API DIR_OF_APIMACHINERY DIR_OF_APIEXTENSIONS
For each message: field number -> [JSON name, type, whether a zero is kept]. See `apiserver/http/protobuf.py` for the types.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from pathlib import Path

OUT = Path(__file__).parent.parent / "src/sailcloth/local/apiserver/data/protobuf.json.gz"
META = "apimachinery/pkg/apis/meta/v1"
EXTENSIONS = "apiextensions-apiserver/pkg/apis/apiextensions/v1"
GROUPS = {  # folder of the types -> API group
    "api/core/v1": "",
    "api/apps/v1": "apps",
    "api/batch/v1": "batch",
    "api/autoscaling/v1": "autoscaling",
    "api/autoscaling/v2": "autoscaling",
    "api/discovery/v1": "discovery.k8s.io",
    "api/coordination/v1": "coordination.k8s.io",
    "api/rbac/v1": "rbac.authorization.k8s.io",
    "api/networking/v1": "networking.k8s.io",
    "api/policy/v1": "policy",
    "api/scheduling/v1": "scheduling.k8s.io",
    "api/admissionregistration/v1": "admissionregistration.k8s.io",
    "api/authentication/v1": "authentication.k8s.io",
    "api/authorization/v1": "authorization.k8s.io",
    "api/certificates/v1": "certificates.k8s.io",
    EXTENSIONS: "apiextensions.k8s.io",
}
SCALARS = {"string": "s", "bool": "b", "float64": "d", "rune": "i", "byte": "i"} | dict.fromkeys(
    ("int", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"), "i"
)
SPECIAL = {
    f"{META}.Time": "Time",
    f"{META}.MicroTime": "MicroTime",
    f"{META}.FieldsV1": "FieldsV1",
    "apimachinery/pkg/api/resource.Quantity": "Quantity",
    "apimachinery/pkg/util/intstr.IntOrString": "IntOrString",
    "apimachinery/pkg/runtime.RawExtension": "Raw",
    "apimachinery/pkg/types.UID": "s",
    "apimachinery/pkg/types.NodeName": "s",
    f"{EXTENSIONS}.JSON": "Raw",
    f"{EXTENSIONS}.JSONSchemaPropsOrBool": "OrBool",
    f"{EXTENSIONS}.JSONSchemaPropsOrArray": "OrArray",
    f"{EXTENSIONS}.JSONSchemaPropsOrStringArray": "OrStrings",
}
_STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.M | re.S)
_ALIAS = re.compile(r"^type (\w+) ((?:\[\]|map\[\w+\])?[\w.]+)$", re.M)
_IMPORT = re.compile(r'^\s*(\w+)?\s*"k8s\.io/([\w./-]+)"$', re.M)
_FIELD = re.compile(r"^\s*(?:(\w+)\s+)?([\w.*\[\]]+)\s+`([^`]*)`", re.M)


class Types:
    """The types of the modules, by folder and name."""

    def __init__(self, modules: dict[str, Path]) -> None:
        self._modules = modules
        self._structs: dict[str, tuple[str, dict[str, str]]] = {}
        self._aliases: dict[str, tuple[str, dict[str, str]]] = {}
        self._read: set[str] = set()
        self.messages: dict[str, dict[str, list[object]]] = {}

    def read(self, folder: str) -> None:
        if folder in self._read:
            return
        self._read.add(folder)
        module, _, rest = folder.partition("/")
        for file in sorted((self._modules[module] / rest).glob("*.go")):
            if file.name.endswith("_test.go") or file.name.startswith(("generated", "zz_generated")):
                continue
            text = re.sub(r"//.*$", "", file.read_text(), flags=re.M)
            imports = {(alias or path.rpartition("/")[2]): path for alias, path in _IMPORT.findall(text)}
            for name, body in _STRUCT.findall(text):
                self._structs[f"{folder}.{name}"] = body, imports
            for name in re.findall(r"^type (\w+) struct ?\{\}$", text, re.M):
                self._structs[f"{folder}.{name}"] = "", imports
            for name, target in _ALIAS.findall(text):
                self._aliases[f"{folder}.{name}"] = target, imports

    def kind(self, text: str, folder: str, imports: dict[str, str], named: bool = False) -> str:
        """The type of a Go type expression."""
        text = text.removeprefix("*")
        if text == "[]byte":
            return "y"
        if text.startswith("[]"):
            inner = self.kind(text[2:], folder, imports)
            return f"items:{inner}" if named else f"[]{inner}"
        if text.startswith("map["):
            return "{}" + self.kind(text.partition("]")[2], folder, imports, named=True)
        if text in SCALARS:
            return SCALARS[text]
        package, _, name = text.rpartition(".")
        home = imports[package] if package else folder
        full = f"{home}.{name}"
        if full in SPECIAL:
            return SPECIAL[full]
        self.read(home)
        if full in self._aliases:
            target, theirs = self._aliases[full]
            return self.kind(target, home, theirs, named=named and target.startswith("[]"))
        self.message(full)
        return f"msg:{full}"

    def message(self, full: str) -> None:
        if full in self.messages:
            return
        fields = self.messages[full] = {}
        folder = full.rpartition(".")[0]
        self.read(folder)
        body, imports = self._structs[full]
        for _, text, tags in _FIELD.findall(body):
            number = re.search(r'protobuf:"\w+,(\d+),', tags)
            name, _, options = (re.search(r'json:"([^"]*)"', tags) or [None, ""])[1].partition(",")
            if number is None or name == "-":
                continue
            if "inline" in options:
                name = ""
            keeps = text.startswith("*") or "omitempty" not in options
            fields[number[1]] = [name, self.kind(text, folder, imports), keeps]


def main() -> None:
    api, machinery, extensions = map(Path, sys.argv[1:4])
    types = Types({"api": api, "apimachinery": machinery, "apiextensions-apiserver": extensions})
    kinds: dict[str, str] = {}
    for folder, group in GROUPS.items():
        types.read(folder)
        version = folder.rpartition("/")[2]
        for full, (body, _) in list(types._structs.items()):
            if full.startswith(folder + ".") and "TypeMeta" in body and not full.endswith(("List", "Options")):
                kinds[f"{group}/{version} {full.rpartition('.')[2]}".lstrip("/")] = full
    kinds |= {
        "DeleteOptions": f"{META}.DeleteOptions",  # in the version of any group
        "v1 Status": f"{META}.Status",
        "meta.k8s.io/v1 PartialObjectMetadata": f"{META}.PartialObjectMetadata",
        "lists": f"{META}.ListMeta",
    }
    for full in kinds.values():
        types.message(full)
    types.message(f"{EXTENSIONS}.JSONSchemaProps")
    made = {"kinds": kinds, "messages": types.messages}
    OUT.write_bytes(gzip.compress(json.dumps(made, sort_keys=True, separators=(",", ":")).encode(), mtime=0))
    print(f"{len(kinds)} kinds, {len(types.messages)} messages, {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
