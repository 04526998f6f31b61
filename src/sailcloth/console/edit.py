"""Changes of the mesh's objects: checked here, written by the API server with the user's own token.

Must not write with the console's rights, or keep anything between requests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson
import yaml

from sailcloth.api import validation
from sailcloth.api.meta import Finding
from sailcloth.kube import ApiError, Client
from sailcloth.kube.resources import Resource
from sailcloth.lib import bounded_yaml
from sailcloth.lib.yaml_positions import Positions

from .schema_edit import Applied, Change, Marker, Named
from .sources import MESH

Object = dict[str, Any]
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_MOST = 50  # documents of one change
_OWN_FIELDS = ("managedFields", "uid", "creationTimestamp", "resourceVersion", "selfLink", "deletionTimestamp")


class BadChange(ValueError):
    """A change that cannot be tried. The text says which document, and why."""


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks."""


def _text(dumper: _Dumper, value: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def to_yaml(objects: Iterable[Mapping[str, Any]]) -> str:
    """Objects as documents of YAML, without their status and what only the API server sets."""
    return "---\n".join(yaml.dump(_editable(obj), Dumper=_Dumper, sort_keys=False, width=120) for obj in objects)


def _editable(obj: Mapping[str, Any]) -> Object:
    metadata = {k: v for k, v in obj["metadata"].items() if k not in _OWN_FIELDS and v != {}}
    rest = {k: v for k, v in obj.items() if k not in ("apiVersion", "kind", "metadata", "status")}
    return {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": metadata, **rest}


def check(text: str) -> tuple[list[Object], list[Marker]]:
    """(documents, what is wrong with them) of a YAML text. Raises BadChange for documents that are no objects of the mesh."""
    try:
        numbered = _numbered(text)
        positions = Positions(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        words = getattr(error, "problem", None) or str(error)
        line = mark.line + 1 if mark else 1
        return [], [Marker(line=line, severity="Error", code="YAML", path="", text=f"This is not YAML: {words}")]
    if len(numbered) > _MOST:
        raise BadChange(f"{len(numbered)} documents; {_MOST} is the most")
    markers: list[Marker] = []
    for number, obj in numbered:
        wrong = _shape(obj)
        if wrong:
            line = positions.line(number, wrong[0])
            markers.append(Marker(line=line, severity="Error", code="KIND", path=wrong[0], text=wrong[1]))
            continue
        markers += [_marker(finding, positions.line(number, finding.path)) for finding in validation.check(obj)]
    return [obj for _, obj in numbered], sorted(markers, key=lambda m: (m.line, m.severity))


def _numbered(text: str) -> list[tuple[int, Any]]:
    """The documents of a text that are not empty, each with its number. Raises yaml.YAMLError."""
    return [(number, obj) for number, obj in enumerate(bounded_yaml.load_all(text)) if obj is not None]


def _shape(obj: Any) -> tuple[str, str] | None:
    """(path, text) of what keeps a document from being an object of the mesh."""
    if not isinstance(obj, dict):
        return "", "A document must be an object with apiVersion, kind, metadata and spec."
    resource = MESH.get(str(obj.get("kind")))
    if resource is None:
        return "kind", f"{obj.get('kind')!r} is no kind of the mesh; use one of {', '.join(sorted(MESH))}."
    group, _, version = str(obj.get("apiVersion")).rpartition("/")
    if group != resource.group or not version:
        return "apiVersion", f"{obj.get('apiVersion')!r} has no {resource.kind}; use {resource.api_version}."
    metadata = obj.get("metadata")
    for field in ("name", "namespace"):
        value = metadata.get(field) if isinstance(metadata, dict) else None
        if not isinstance(value, str) or not value:
            return f"metadata.{field}", f"Give a {field}."
        if not _NAME.fullmatch(value):
            return f"metadata.{field}", f"{value[:80]!r} is no {field}: use lower case letters, digits, - and dots."
    return None


def _marker(finding: Finding, line: int) -> Marker:
    return Marker(
        line=line,
        severity=finding.severity,
        code=finding.code,
        path=finding.path,
        text=finding.text,
        fix=finding.fix,
    )


def markers(text: str, findings: Iterable[Finding]) -> list[Marker]:
    """Findings about the object of a text, at their lines."""
    positions = Positions(text)
    return [_marker(finding, positions.line(0, finding.path)) for finding in findings]


async def apply(client: Client, change: Change, current: Callable[[Named], Object | None]) -> Applied:
    """Make a change with a user's client, all of it tried first as a dry run. current: an object as it is, for undoing.

    Nothing is changed if a document is not valid or the API server refuses one in the dry run; `markers` say why. Should it refuse one
    later, `stopped` says why, and `done` what was changed before. Raises BadChange, ApiError, OSError.
    """
    documents, markers = check(change.yaml)
    if any(m.severity == "Error" for m in markers):
        return Applied(done=[], markers=markers)
    if not documents and not change.delete:
        raise BadChange("there is nothing to change")
    for named in change.delete:
        if named.kind not in MESH:
            raise BadChange(f"{named.kind!r} is no kind of the mesh")
        if not _NAME.fullmatch(named.name) or not _NAME.fullmatch(named.namespace):
            raise BadChange(f"{named.namespace[:80]!r} and {named.name[:80]!r} are no namespace and name")
    for number, document in _numbered(change.yaml):
        try:
            await _write(client, document, dry_run=True)
        except ApiError as error:
            return Applied(done=[], markers=[*markers, *_refusals(error, Positions(change.yaml), number)])
    if change.dry_run:
        return Applied(done=[f"{_name(d)} would be {_verb(d)}" for d in documents], markers=markers)
    before = [current(_named(obj)) for obj in documents]
    written: list[Object] = []
    gone: list[Object] = []
    done: list[str] = []
    stopped = ""
    try:
        for document in documents:
            written.append(await _write(client, document))
            done.append(f"{_name(document)} {_verb(document)}")
        for named in change.delete:
            obj = current(named)
            await client.delete(_resource(named.kind), named.name, named.namespace)
            gone += [obj] if obj is not None else []
            done.append(f"{named.kind} {named.namespace}/{named.name} deleted")
    except ApiError as error:
        if not done:
            raise
        stopped = f"The rest was not changed: {error.message or error.reason}"
    undo = _undo(written, before[: len(written)], gone)
    return Applied(done=done, markers=markers, yaml=to_yaml(written), undo=undo, stopped=stopped)


def _undo(written: Sequence[Object], before: Sequence[Object | None], gone: Sequence[Object]) -> Change:
    back = []
    for new, old in zip(written, before, strict=True):
        if old is not None:
            back.append({**old, "metadata": {**old["metadata"], "generation": new["metadata"].get("generation")}})
    for obj in gone:
        metadata = {k: v for k, v in obj["metadata"].items() if k != "generation"}
        back.append({**obj, "metadata": metadata})
    return Change(
        yaml=to_yaml(back), delete=[_named(new) for new, old in zip(written, before, strict=True) if old is None]
    )


async def _write(client: Client, obj: Object, dry_run: bool = False) -> Object:
    """Create an object, or replace the generation that it names: a new status is no other version. Raises ApiError, OSError."""
    resource, metadata, body = _resource(obj["kind"]), obj["metadata"], _editable(obj)
    generation = body["metadata"].pop("generation", None)
    query = {"fieldManager": "sailcloth-console", "dryRun": "All" if dry_run else ""}
    if generation is None:
        return dict(orjson.loads(await client.call("POST", resource.path(metadata["namespace"]), body, **query)))
    path = resource.path(metadata["namespace"], metadata["name"])
    now = orjson.loads(await client.call("GET", path))["metadata"]
    if now.get("generation") != generation:
        raise ApiError(409, "Conflict", f"it is at generation {now.get('generation')} now, not {generation}")
    applied = (now.get("annotations") or {}).get(_APPLIED)
    if applied:  # not shown, and not taken away: `kubectl apply` compares with it
        body["metadata"]["annotations"] = {_APPLIED: applied, **(body["metadata"].get("annotations") or {})}
    body["metadata"]["resourceVersion"] = now["resourceVersion"]
    return dict(orjson.loads(await client.call("PUT", path, body, **query)))


def _refusals(error: ApiError, positions: Positions, number: int) -> list[Marker]:
    """What the API server refuses, at the fields that it names."""
    causes = (error.body.get("details") or {}).get("causes") or ()
    found = [(str(c.get("field") or ""), str(c.get("message") or error.message)) for c in causes] or [
        ("", error.message)
    ]
    fix = {409: "Someone has changed it, or it exists already: reload it.", 403: "Your account may not do this."}
    return [
        Marker(
            line=positions.line(number, field),
            severity="Error",
            code=error.reason,
            path=field,
            text=text,
            fix=fix.get(error.status, ""),
        )
        for field, text in found
    ]


def _resource(kind: str) -> Resource:
    return MESH[kind]


def _named(obj: Mapping[str, Any]) -> Named:
    return Named(kind=obj["kind"], namespace=obj["metadata"].get("namespace", ""), name=obj["metadata"]["name"])


def _name(obj: Mapping[str, Any]) -> str:
    return f"{obj['kind']} {obj['metadata']['namespace']}/{obj['metadata']['name']}"


def _verb(obj: Mapping[str, Any]) -> str:
    return "replaced" if "generation" in obj["metadata"] else "created"
