"""`sailctl get`, `create`, `replace` and `delete`, as istioctl had them up to 1.5: the mesh's objects without kubectl."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import cluster_objects, complete, dumps, output
from .cluster_options import Kubeconfig, Namespace

if TYPE_CHECKING:
    from sailcloth.api.kinds import Kind
    from sailcloth.kube import Client, Resource

Object = dict[str, Any]
File = Annotated[list[str] | None, typer.Option("-f", "--file", help="Manifest; - for standard input; may repeat.")]
_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


def get(
    kind: Annotated[str, typer.Argument(help="Kind, such as virtualservice, or all.", autocompletion=complete.kinds)],
    name: Annotated[str, typer.Argument(help="Name; all of the kind without one.")] = "",
    everywhere: Annotated[bool, typer.Option("-A", "--all-namespaces", help="Of all namespaces.")] = False,
    out: Annotated[str, typer.Option("-o", "--output", help="short, yaml or json")] = "short",
    namespace: Namespace = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Show objects of the mesh. Today: `kubectl get`."""
    output.check_choice("output", out, "short", "yaml", "json")
    kinds = _kinds() if kind == "all" else [kind_of(kind)]
    _deprecated("get")
    shown = dumps.run(_get(kinds, name, namespace, everywhere, out, kubeconfig))
    if out != "short":
        items = [i for _, body in shown for i in body]
        if out == "json":
            output.structured(items[0] if name and len(items) == 1 else {"kind": "List", "items": items}, "json")
        else:
            print("---\n".join(_yaml(i) for i in items), end="")
        return
    for index, (columns, rows) in enumerate((c, r) for c, r in shown if r):
        print("" if not index else "\n", end="")
        output.table(columns, rows)
    if not any(rows for _, rows in shown):
        print("No resources found.")


async def _get(
    kinds: list[Kind], name: str, namespace: str, everywhere: bool, out: str, kubeconfig: str
) -> list[tuple[list[str], list[Any]]]:
    import orjson

    from .cluster import client

    shown: list[tuple[list[str], list[Any]]] = []
    async with client(kubeconfig) as api:
        for kind in kinds:
            resource = cluster_objects.resource_of(kind)
            path = resource.path("" if everywhere else namespace or api.endpoint.namespace, name)
            if out != "short":
                body = orjson.loads(await api.call("GET", path))
                items = body.get("items", [body])
                shown.append(([], [{"apiVersion": kind.api_version, "kind": kind.name, **i} for i in items]))
                continue
            async with api.request("GET", path, headers={"Accept": _TABLE}) as response:
                answer = await response.read()
                if response.status >= 400:
                    from sailcloth.kube.client import refusal

                    raise refusal(response.status, answer)
            shown.append(_table(orjson.loads(answer)))
    return shown


def _table(body: Object) -> tuple[list[str], list[list[str]]]:
    """The table of an API server, with the namespaces of its rows."""
    columns = [c["name"].upper() for c in body["columnDefinitions"] if not c.get("priority")]
    chosen = [i for i, c in enumerate(body["columnDefinitions"]) if not c.get("priority")]
    rows = []
    for row in body.get("rows") or ():
        cells = ["" if row["cells"][i] is None else str(row["cells"][i]) for i in chosen]
        rows.append([cells[0], row["object"]["metadata"].get("namespace", ""), *cells[1:]])
    return [columns[0], "NAMESPACE", *columns[1:]], rows


def create(file: File = None, namespace: Namespace = "", kubeconfig: Kubeconfig = "") -> None:
    """Create objects from a manifest. Today: `kubectl create -f`."""
    _write("create", file, namespace, kubeconfig)


def replace(file: File = None, namespace: Namespace = "", kubeconfig: Kubeconfig = "") -> None:
    """Replace objects by those of a manifest. Today: `kubectl replace -f`."""
    _write("replace", file, namespace, kubeconfig)


def delete(
    kind: Annotated[str, typer.Argument(help="Kind, without -f.", autocompletion=complete.kinds)] = "",
    names: Annotated[list[str] | None, typer.Argument(help="Names.")] = None,
    file: File = None,
    namespace: Namespace = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Delete objects, by kind and name or by manifest. Today: `kubectl delete`."""
    if bool(file) == bool(kind and names):
        output.fail("name a KIND and NAMEs, or a manifest with -f", output.USAGE)
    if file:
        _write("delete", file, namespace, kubeconfig)
        return
    found = kind_of(kind)
    _deprecated("delete")
    metadata = [{"metadata": {"name": n}, "kind": found.name, "apiVersion": found.api_version} for n in names or ()]
    dumps.run(_changed("delete", metadata, namespace, kubeconfig))


def _write(verb: str, files: list[str] | None, namespace: str, kubeconfig: str) -> None:
    if not files:
        output.fail(f"{verb}: name a manifest with -f FILE", output.USAGE)
    found = documents(files)
    _deprecated(verb)
    dumps.run(_changed(verb, found, namespace, kubeconfig))


def documents(files: list[str]) -> list[Object]:
    """The objects of manifests; `-` is standard input. One that cannot be read ends the command."""
    from sailcloth.analysis import manifests

    found: list[Object] = []
    for file in files:
        try:
            found += manifests.documents(sys.stdin.read() if file == "-" else Path(file).read_text())
        except (OSError, ValueError) as error:
            output.fail(f"{file}: {getattr(error, 'strerror', None) or error}", output.DATA)
    for obj in found:
        if not obj.get("kind") or not (obj.get("metadata") or {}).get("name"):
            output.fail(f"{', '.join(files)}: an object has no kind or no metadata.name", output.DATA)
    return found


async def _changed(verb: str, objects: list[Object], namespace: str, kubeconfig: str) -> None:
    from .cluster import Applier, client

    async with client(kubeconfig) as api:
        applier = Applier(api)
        for obj in objects:
            resource = await applier.resource(obj)
            meta = obj["metadata"]
            place = (meta.get("namespace") or namespace or api.endpoint.namespace) if resource.namespaced else ""
            revision = await _change(api, verb, resource, {**obj, "metadata": {**meta, "namespace": place}})
            done = {"create": "Created", "replace": "Updated", "delete": "Deleted"}[verb]
            config = f"{_dashed(obj['kind'])}/{place}/{meta['name']}"
            at = f" {'to' if verb == 'replace' else 'at'} revision {revision}" if revision else ""
            print(f"{done} config {config}{at}" if verb != "delete" else f"{done} config: {config}")


async def _change(api: Client, verb: str, resource: Resource, obj: Object) -> str:
    """One write. Returns the new resource version, empty for a deletion."""
    meta = obj["metadata"]
    if verb == "delete":
        await api.delete(resource, meta["name"], meta["namespace"])
        return ""
    if verb == "create":
        created = await api.create(resource, obj)
    else:
        created = await _replaced(api, resource, obj)
    return str(created["metadata"]["resourceVersion"])


async def _replaced(api: Client, resource: Resource, obj: Object) -> Object:
    """The object in place of the one that is there, whatever its version: one that was changed in between is read again."""
    from sailcloth.kube import ApiError

    meta, last = obj["metadata"], 4
    for attempt in range(last + 1):
        present = await api.get(resource, meta["name"], meta["namespace"])
        version = {"resourceVersion": present["metadata"]["resourceVersion"]}
        try:
            return await api.replace(resource, {**obj, "metadata": {**meta, **version}})
        except ApiError as error:
            if error.status != 409 or attempt == last:
                raise
    raise AssertionError("not reached")


def kind_of(text: str) -> Kind:
    """The kind of a word: its name, plural, short name or istioctl's name with dashes; an unknown one ends the command."""
    wanted = text.lower().replace("-", "")
    for kind in _kinds():
        if wanted in (kind.name.lower(), kind.plural, *kind.short):
            return kind
    names = ", ".join(sorted(k.name.lower() for k in _kinds()))
    output.fail(f"unknown kind {text!r}; known are {names}", output.USAGE)


def _kinds() -> list[Kind]:
    from sailcloth.api.kinds import MESH_KINDS

    return list(MESH_KINDS)


def _dashed(kind: str) -> str:
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in kind).lstrip("-")


def _deprecated(verb: str) -> None:
    print(f'Command "{verb}" is deprecated, use `kubectl {verb}` instead', file=sys.stderr)


def _yaml(value: Any) -> str:
    import yaml

    return str(yaml.safe_dump(value, sort_keys=False))
