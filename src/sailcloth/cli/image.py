"""`sailctl image`: lists, adds and removes the images of a local cluster."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sailcloth.local.state import StateDir

from . import output
from .lifecycle import Name, State
from .local_cluster import state_of

if TYPE_CHECKING:
    from sailcloth.local.images.catalog import Catalog

Reference = Annotated[str, typer.Argument(help="Image as manifests name it; without a tag it stands for all tags.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        help="Images of the local cluster: names that stand for commands or root file systems.", no_args_is_help=True
    )
    group.command("list")(list_images)
    arguments = {"ignore_unknown_options": True, "allow_interspersed_args": False}
    group.command("add", context_settings=arguments)(add)
    group.command("remove")(remove)
    app.add_typer(group, name="image", rich_help_panel="Local cluster")


def list_images(
    state: State = "",
    cluster: Name = "",
    out: Annotated[str, typer.Option("-o", "--output", help="table, json or yaml")] = "table",
) -> None:
    """List images, those that you added first."""
    from sailcloth.local.images import catalog

    try:
        own = _catalog(state_of(state, cluster)).user_images()
    except catalog.CatalogError as error:
        output.fail(str(error), output.DATA)
    rows = [[name, "user", _shown(entry)] for name, entry in sorted(own.items())]
    rows += [[pattern, "shipped", command] for pattern, command in catalog.shipped()]
    if out in ("json", "yaml"):
        output.structured([dict(zip(("image", "source", "command"), row, strict=True)) for row in rows], out)
    else:
        output.table(["IMAGE", "SOURCE", "COMMAND"], rows)


def _shown(entry: dict[str, Any]) -> str:
    words = " ".join([*(entry.get("command") or ()), *(entry.get("arguments") or ())])
    return f"{words} in {entry['root']}".strip() if entry.get("root") else words


def add(
    reference: Reference,
    command: Annotated[list[str] | None, typer.Argument(help="Program and arguments that run in its place.")] = None,
    env: Annotated[list[str] | None, typer.Option("-e", "--env", help="NAME=VALUE, before the image's name.")] = None,
    path: Annotated[
        list[str] | None,
        typer.Option(help="Folder in a home directory or the like that it needs besides those of its command's files."),
    ] = None,
    root: Annotated[
        str,
        typer.Option(help="Root file system: a folder; an OCI layout or what `docker save` writes, as folder or tar."),
    ] = "",
    max_size: Annotated[int, typer.Option(help="With --root: MiB that an archive may hold unpacked.")] = 8192,
    state: State = "",
    cluster: Name = "",
) -> None:
    """Add an image, as a command or a root file system; pods that wait for it start at once.

    Options come before the image: sailctl image add -e LEVEL=debug example.com/app python3 /home/me/app/main.py
    Of home directories and /tmp a pod sees only the folders of the files that the command names, and those of --path.
    """
    from sailcloth.local.images import catalog

    pairs = {}
    for text in env or []:
        name, equals, value = text.partition("=")
        if not name or not equals:
            output.fail(f"--env {text!r}: write NAME=VALUE", output.USAGE)
        pairs[name] = value
    where = state_of(state, cluster)
    if root:
        _add_root(where, reference, root, command or [], pairs, max_size)
        return
    if not command:
        output.fail("name a command that the image stands for, or a root file system with --root", output.USAGE)
    program = shutil.which(command[0])
    if program is None:
        output.fail(f"{command[0]}: there is no such program on this machine", output.DATA)
    paths = [os.path.abspath(p) for p in path or []]
    for missing in (p for p in paths if not os.path.exists(p)):
        output.fail(f"--path {missing}: there is no such folder or file", output.DATA)
    program = os.path.abspath(program)
    try:
        _catalog(where).add(reference, [program, *command[1:]], pairs, paths)
    except (catalog.CatalogError, OSError) as error:
        output.fail(str(error), output.DATA)
    print(f"image {reference} stands for {' '.join([program, *command[1:]])}")


def _add_root(
    where: StateDir, reference: str, root: str, command: list[str], env: dict[str, str], max_mib: int
) -> None:
    from sailcloth.local.images import catalog, layers, rootfs_store

    source = Path(root).expanduser()
    if not source.exists():
        output.fail(f"--root {root}: there is no such file or folder", output.DATA)
    try:
        where.roots.mkdir(mode=0o700, parents=True, exist_ok=True)
        entry, skipped = rootfs_store.entry(where.roots.resolve(), source, reference, command, max_mib)
        _catalog(where).add_root(reference, entry, env)
    except (catalog.CatalogError, layers.ArchiveError, OSError) as error:
        output.fail(f"--root {root}: {error}", output.DATA)
    if skipped:
        print(f"left out, because they are no files or folders: {', '.join(skipped[:10])}")
    does = (
        " ".join([*entry["command"], *entry.get("arguments", ())]) if entry.get("command") else "no command of its own"
    )
    print(f"image {reference} is the root file system {entry['root']} ({does})")


def remove(reference: Reference, state: State = "", cluster: Name = "") -> None:
    """Remove an image that you added. Running pods keep running."""
    from sailcloth.local.images import catalog, rootfs_store

    where = state_of(state, cluster)
    try:
        known = _catalog(where).remove(reference)
        if not where.record.exists():  # of a cluster that runs, pods may still use it: then the next start removes it
            rootfs_store.delete_unused(
                where.roots.resolve(), [str(e.get("root") or "") for e in _catalog(where).user_images().values()]
            )
    except (catalog.CatalogError, OSError) as error:
        output.fail(str(error), output.DATA)
    if not known:
        output.fail(f"there is no image {reference} of your own; see `sailctl image list`")
    print(f"image {reference} removed")


def _catalog(state: StateDir) -> Catalog:
    from sailcloth.local.images import catalog

    return catalog.Catalog(str(state.images))
