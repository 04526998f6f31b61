"""`sailctl x undo`: puts back what the last change of the mesh's objects has replaced.

The control plane remembers the versions that its last changes have replaced (`controlplane.change_log`), since its start. An undo is a
change itself, so another one takes it back.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import cluster_objects, dumps, output
from .cluster_options import Kubeconfig

if TYPE_CHECKING:
    from sailcloth.kube import Client, Resource

Name = tuple[str, str, str]  # kind, namespace, name
_TOGETHER_S = 3.0  # changes with less between them are of one apply, unless they are of one object


@dataclass(frozen=True)
class Step:
    """One object to put back. `previous`: its version before, in JSON form; None: there was none. `generation`: the one that it has now,
    0 if it was deleted."""

    name: Name
    previous: dict[str, Any] | None
    generation: int

    def __str__(self) -> str:
        kind, namespace, name = self.name
        return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"

    @property
    def verb(self) -> str:
        if self.previous is None:
            return "deleted again"
        return (
            f"restored as it was at generation {self.previous['metadata'].get('generation', 1)}"
            if self.generation
            else "created again"
        )


def undo(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KIND/NAME[.NAMESPACE]]...",
            help="Undo the last change of these objects; without any, the last apply.",
        ),
    ] = None,
    namespace: Annotated[str, typer.Option("-n", "--namespace", help="Namespace of the objects.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be put back.")] = False,
    yes: Annotated[bool, typer.Option("-y", "--skip-confirmation", help="Do not ask.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also objects that have changed since.")] = False,
    kubeconfig: Kubeconfig = "",
) -> None:
    """Put back what the last apply or delete replaced. Undoing twice brings it back.

    Example: sailctl x undo --dry-run, or sailctl x undo virtualservice/reviews
    """
    steps, others = dumps.run(steps_of(what or [], namespace, kubeconfig))
    if others:
        output.warn(f"changed since, and not put back, as no versions of its kind are remembered: {', '.join(others)}")
    if not steps:
        output.fail("the control plane remembers no change to undo; it keeps the last ones since its start")
    for step in steps:
        print(f"{step} {'would be' if dry_run else 'will be'} {step.verb}", file=sys.stderr)
    if dry_run:
        return
    if not yes:
        if not sys.stdin.isatty():
            output.fail("there is no terminal to ask on; give -y", output.USAGE)
        typer.confirm("Continue?", abort=True, err=True)
    for line in dumps.run(put_back(steps, force, kubeconfig)):
        print(line)


async def steps_of(what: list[str], namespace: str, kubeconfig: str) -> tuple[list[Step], list[str]]:
    """(What to put back; without `what`, also the objects that were changed with it or later and whose versions are not remembered). Raises
    ValueError for an unknown kind, and for an object without a change."""
    from sailcloth.api.kinds import MESH_KINDS, OPTIONAL_KINDS

    from .cluster import client, debug
    from .trace_change import named

    changes = await debug(kubeconfig, "/debug/changez?previous=true&limit=256")
    rows = [r for r in changes if any("previous" in o for o in r["objects"])]
    async with client(kubeconfig) as api:
        own = namespace or api.endpoint.namespace or "default"
    wanted = [named(each, own) for each in what]
    found: dict[Name, Step] = {}
    times: list[float] = []
    for row in rows:  # the newest first
        changed = {(o["kind"], o["namespace"], o["name"]): o for o in row["objects"] if "previous" in o}
        # A change of the same object is of an earlier apply, or is what an undo has undone.
        if not wanted and times and (times[-1] - row["received"] > _TOGETHER_S or found.keys() & changed.keys()):
            break
        times.append(row["received"])
        for name, obj in changed.items():
            if name not in found and (not wanted or name in wanted):
                found[name] = Step(name, obj["previous"], obj["generation"])
    if missing := [m for m in wanted if m not in found]:
        raise ValueError(
            f"the control plane remembers no change of {'/'.join(missing[0])}; it keeps the last ones since its start"
        )
    others = dict.fromkeys(
        str(Step((o["kind"], o["namespace"], o["name"]), None, 0))
        for row in changes
        for o in row["objects"]
        if times and not wanted and row["received"] > times[-1] - _TOGETHER_S
        if "previous" not in o and o["kind"] in {k.key_kind for k in (*MESH_KINDS, *OPTIONAL_KINDS)}
    )
    return [s for s in found.values() if s.previous is not None or s.generation], list(others)


async def put_back(steps: list[Step], force: bool, kubeconfig: str) -> list[str]:
    from .cluster import client

    async with client(kubeconfig) as api:
        current = [await cluster_objects.existing(api, _resource(step), step.name[2], step.name[1]) for step in steps]
        for step, obj in zip(steps, current, strict=True):
            generation = obj["metadata"]["generation"] if obj is not None else 0
            if generation != step.generation and not force:
                raise ValueError(f"{step} has changed since; nothing was put back (--force does it all the same)")
        return [f"{step} {await _write(api, step, obj)}" for step, obj in zip(steps, current, strict=True)]


def _resource(step: Step) -> Resource:
    from sailcloth.api.kinds import SERVED_KINDS

    return cluster_objects.resource_of(next(k for k in SERVED_KINDS if k.name == step.name[0]))


def _as_written(previous: dict[str, Any], resource: Resource) -> dict[str, Any]:
    """A version as its user applied it, if that is known and means the same: the control plane's own has no fields with their default."""
    import orjson

    from sailcloth.analysis import manifests
    from sailcloth.api import nulls

    from .cluster import LAST_APPLIED

    metadata = previous["metadata"]
    head = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
    try:
        applied = orjson.loads((metadata.get("annotations") or {}).get(LAST_APPLIED) or "null")
        same = manifests.typed({**previous, **head}) == manifests.typed({**applied, **head})
    except (orjson.JSONDecodeError, TypeError):
        return previous
    return dict(nulls.without_nulls(applied)) if same else previous


async def _write(api: Client, step: Step, current: dict[str, Any] | None) -> str:
    """Put one object back. Returns what was done."""
    resource = _resource(step)
    if step.previous is None:
        if current is not None:
            await api.delete(resource, step.name[2], step.name[1])
        return "deleted"
    kept = {k: step.previous["metadata"].get(k, {}) for k in ("labels", "annotations")}
    spec = {k: v for k, v in _as_written(step.previous, resource).items() if k not in ("metadata", "status")}
    head = {"apiVersion": resource.api_version, "kind": resource.kind}
    if current is None:
        metadata = {"name": step.name[2], "namespace": step.name[1], **kept}
        await api.create(resource, {**head, "metadata": metadata, **spec})
        return "created"
    await api.replace(resource, {**head, "metadata": {**current["metadata"], **kept}, **spec})
    return "restored"
