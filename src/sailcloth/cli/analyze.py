"""`sailctl analyze`: mistakes in files, in a cluster, or in both together. Options, output and exit codes are istioctl's."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from . import complete, dumps, output
from .cluster_options import Kubeconfig
from .go_flags import GoFlagsCommand

if TYPE_CHECKING:
    from sailcloth.analysis.analyzers import Document
    from sailcloth.api.meta import Finding
    from sailcloth.kube import Client

    from .analysis_input import Files

T = TypeVar("T")
FOUND = 79  # exit code if findings reach the failure threshold
_SHOWN = 8
LEVELS = ("Info", "Warning", "Error")
_COLORS = {"Error": "\x1b[31m", "Warning": "\x1b[33m", "Info": "\x1b[32m"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("analyze", cls=GoFlagsCommand, rich_help_panel="Configuration")(analyze)


def analyze(
    files: Annotated[list[str] | None, typer.Argument(help="Files and directories; - for standard input.")] = None,
    all_namespaces: Annotated[bool, typer.Option("-A", "--all-namespaces", help="All namespaces.")] = False,
    namespace: Annotated[
        str,
        typer.Option(
            "-n",
            "--namespace",
            autocompletion=complete.namespaces,
            help="Namespace to report on, and of objects without one.",
        ),
    ] = "",
    use_kube: Annotated[
        bool,
        typer.Option(
            "-k",
            "--use-kube/--no-use-kube",
            help="Read the cluster, too, which is the default; --use-kube=false: files only.",
            show_default=False,
        ),
    ] = True,
    recursive: Annotated[bool, typer.Option("-R", "--recursive", help="Directories with all below them.")] = False,
    suppress: Annotated[
        list[str] | None,
        typer.Option("-S", "--suppress", help='Leave out, such as "IST0102=Namespace bar"; * and ? match.'),
    ] = None,
    output_threshold: Annotated[str, typer.Option(help="Lowest level to print: Info, Warning or Error.")] = "Info",
    failure_threshold: Annotated[str, typer.Option(help="Lowest level for exit code 79.")] = "Error",
    out: Annotated[str, typer.Option("-o", "--output", help="log, json or yaml")] = "log",
    analyzer: Annotated[list[str] | None, typer.Option("--analyzer", help="Only this analyzer; may repeat.")] = None,
    list_analyzers: Annotated[bool, typer.Option("-L", "--list-analyzers", help="Print the analyzers.")] = False,
    revision: Annotated[str, typer.Option("--revision", help="Control plane whose objects are analyzed.")] = "",
    timeout: Annotated[str, typer.Option(help="Time to read the cluster in.")] = "30s",
    color: Annotated[bool | None, typer.Option("--color/--no-color", help="Colours; default on a terminal.")] = None,
    mesh_config: Annotated[str, typer.Option("--meshConfigFile", help="MeshConfig to use.")] = "",
    ignore_unknown: Annotated[bool, typer.Option("--ignore-unknown", help="No error for unreadable files.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say how to fix, and what was read.")] = False,
    root: Annotated[
        str, typer.Option("-i", "--istioNamespace", help="Namespace of the control plane.")
    ] = "istio-system",
    kubeconfig: Kubeconfig = "",
    context: Annotated[str, typer.Option("--context", help="Context of the kubeconfig.")] = "",
    remote_contexts: Annotated[
        list[str] | None, typer.Option("--remote-contexts", help="Contexts of the mesh's other clusters.")
    ] = None,
) -> None:
    """Find mistakes in the mesh's configuration: `sailctl analyze -A`, `sailctl analyze --use-kube=false -R samples/`."""
    from sailcloth.analysis import analyzers
    from sailcloth.analysis.analyzers import defaults, multiple_clusters, suppression
    from sailcloth.api.meta import duration_ms

    from . import analysis_input

    if list_analyzers:
        print("\n".join(_listed()))
        return
    lowest, failing = _level("--output-threshold", output_threshold), _level("--failure-threshold", failure_threshold)
    if out not in ("log", "json", "yaml"):
        output.fail(f"{out} is not a valid output format: use log, json or yaml", output.USAGE)
    if not use_kube and not files:
        output.fail("at least one file must be specified if not using a cluster (--use-kube=false)", output.USAGE)
    try:
        patience_s = (duration_ms(timeout) or 0.0) / 1000
        rules = [suppression.parse(text) for text in suppress or ()]
        chosen = {a.name for a in analyzers.selected(analyzer or ())}
    except ValueError as error:
        output.fail(str(error), output.USAGE)
    for rule in (r for r in rules if r.code not in analyzers.MESSAGES):
        output.warn(f"Supplied message code '{rule.code}' is an unknown message code and will not have any effect.")
    options = _options(mesh_config)
    read = analysis_input.read(files or [], recursive, namespace or "default")
    for file, problem in read.errors if not ignore_unknown else ():
        print(f"Error: {file}: {problem}", file=sys.stderr)
    cluster = _Cluster(kubeconfig, context, root, patience_s)
    documents, unread = cluster.objects(namespace) if use_kube else (defaults.documents(root), frozenset())
    objects = analyzers.ObjectSet(
        _of_revision([*documents, *read.documents], revision),
        mesh_config=options,
        root=root,
        revision=revision,
        now=_now(),
        unread=unread,
    )
    if unread:
        output.warn(f"{len(unread)} kinds may not be read, and are not analyzed: {_some(sorted(unread))}")
    if verbose:
        print(f"Analyzed {len(objects.documents)} objects with {len(chosen)} analyzers.", file=sys.stderr)
    found = analyzers.run(objects, analyzer or ())
    if remote_contexts and use_kube and not analyzer:
        others = {
            name: analyzers.ObjectSet(cluster.services(name)) for text in remote_contexts for name in text.split(",")
        }
        found += multiple_clusters.services({context or "current": objects, **others})
    found = suppression.remaining(found, objects, rules)
    reported = _reported(found, read, namespace or "default", all_namespaces)
    target = "all namespaces" if all_namespaces else f"namespace: {namespace or 'default'}"
    shown = [f for f in reported if LEVELS.index(f.severity) >= lowest]
    colored = sys.stdout.isatty() if color is None else color
    _print(shown, read, out, target, colored, verbose)
    if any(LEVELS.index(f.severity) >= failing for f in reported):
        from sailcloth.analysis.analyzers import catalogue

        print(
            f"Error: Analyzers found issues when analyzing {target}.\n"
            f"See {catalogue.REFERENCE} for more information about causes and resolutions.",
            file=sys.stderr,
        )
        raise SystemExit(FOUND)
    if read.errors and not ignore_unknown:
        raise SystemExit(output.DATA)


def _some(names: list[str]) -> str:
    """The first names of a list, and how many more there are."""
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _level(option: str, text: str) -> int:
    names = [level.lower() for level in LEVELS]
    if text.lower() not in names:
        output.fail(f"{option}: {text!r}; use Info, Warning or Error", output.USAGE)
    return names.index(text.lower())


def _listed() -> list[str]:
    from sailcloth.analysis.analyzers import ANALYZERS

    named = {a.name: a.description for a in reversed(ANALYZERS)}
    return [line for name in sorted(named) for line in (f"* {name}:", f"    {named[name]}")]


def _options(file: str) -> str:
    """The text of a MeshConfig file."""
    from sailcloth.mesh import mesh_config

    if not file:
        return ""
    try:
        text = Path(file).read_text()
        mesh_config.parse(text)
    except (OSError, ValueError) as error:
        output.fail(f"{file}: {getattr(error, 'strerror', None) or error}", output.DATA)
    return text


def _now() -> Any:
    import datetime as dt

    return dt.datetime.now(dt.UTC)


@dataclass(frozen=True)
class _Cluster:
    """Where objects are read from. Methods end the command if there is no cluster."""

    kubeconfig: str
    context: str
    root: str
    patience_s: float

    def objects(self, namespace: str) -> tuple[list[Document], frozenset[str]]:
        """All objects that analyzers read, and the kinds that could not be read."""
        from . import analysis_input

        async def read() -> tuple[list[Document], frozenset[str]]:
            documents, unread = await self._within(
                self.context, lambda api: analysis_input.from_cluster(api, self.root)
            )
            if unread and not documents:
                raise ValueError(
                    "this user may not read any object of the cluster; --use-kube=false analyzes files alone"
                )
            names = {d.key.name for d in documents if d.key.kind == "Namespace"}
            if namespace and names and namespace not in names:
                raise ValueError(f'namespaces "{namespace}" not found')
            return documents, unread

        return dumps.run(read())

    def services(self, context: str) -> list[Document]:
        """The Services of another cluster of the mesh."""
        from . import analysis_input

        return dumps.run(self._within(context, analysis_input.services))

    async def _within(self, context: str, read: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
        import asyncio

        from .cluster import client

        async with client(self.kubeconfig, context) as api:
            try:
                return await asyncio.wait_for(read(api), self.patience_s)
            except TimeoutError:
                raise OSError(f"{api.endpoint.server}: not read within {self.patience_s:g}s") from None


def _of_revision(documents: list[Document], revision: str) -> list[Document]:
    """Without the mesh's objects that are for another control plane."""
    if not revision:
        return documents
    return [d for d in documents if ".istio.io" not in d.group or d.labels.get("istio.io/rev", revision) == revision]


def _reported(findings: list[Finding], files: Files, namespace: str, everywhere: bool) -> list[Finding]:
    """The findings about objects of files, and about those of the chosen namespaces."""
    of_files = {d.key for d in files.documents}
    return [
        f
        for f in findings
        if everywhere
        or f.resource in of_files
        or (f.resource.name if f.resource.kind == "Namespace" else f.resource.namespace) == namespace
    ]


def _print(findings: list[Finding], files: Files, form: str, target: str, colored: bool, verbose: bool) -> None:
    if form != "log":
        output.structured([_item(f, files) for f in findings], form)
        return
    lines = {log_line(f, files.reference(f), colored): f.fix for f in findings}  # equal lines once
    for line, fix in lines.items():
        print(line)
        if verbose and fix:
            print(f"    {fix}")
    if findings:
        return
    if files.errors:
        count = len(files.errors)
        note = f" (but {count} {'file' if count == 1 else 'files'} could not be parsed)"
        print(f"No validation issues found when analyzing {target}{note}.", file=sys.stderr)
    else:
        print(f"✔ No validation issues found when analyzing {target}.", file=sys.stderr)


def log_line(finding: Finding, reference: str, colored: bool) -> str:
    """`Warning [IST0103] (Pod ns/name file.yaml:12) text`."""
    level = f"{_COLORS[finding.severity]}{finding.severity}\x1b[0m" if colored else finding.severity
    where = f"{finding.resource}" + (f" {reference}" if reference else "")
    return f"{level} [{finding.code}] ({where}) {finding.text}"


def _item(finding: Finding, files: Files) -> dict[str, str]:
    """A finding in the form of istioctl's JSON, with its field path and fix."""
    from sailcloth.analysis.analyzers import catalogue

    item = {
        "code": finding.code,
        "documentationUrl": catalogue.url(finding.code),
        "level": finding.severity,
        "message": finding.text,
        "origin": str(finding.resource),
        "reference": files.reference(finding),
        "path": finding.path,
        "fix": finding.fix,
    }
    return {name: value for name, value in item.items() if value}
