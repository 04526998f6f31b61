"""`sailctl validate`: what admission says of files, object by object, in istioctl's output form."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from . import output
from .cluster_options import namespace_option
from .go_flags import GoFlagsCommand

if TYPE_CHECKING:
    from sailcloth.api.meta import Finding

_MISSING = """you must specify resources by --filename.
Example resource specifications include:
   '-f rsrc.yaml'
   '--filename=rsrc.json'"""


def register(app: typer.Typer) -> None:
    """Add the command, and its short name."""
    app.command("validate", cls=GoFlagsCommand, rich_help_panel="Configuration")(validate)
    app.command("v", cls=GoFlagsCommand, hidden=True)(validate)


def validate(
    file: Annotated[list[str] | None, typer.Option("-f", "--filename", help="File or directory; may repeat.")] = None,
    namespace: Annotated[str, namespace_option("Of objects without one.")] = "default",
    referential: Annotated[
        bool, typer.Option("-x", "--referential/--no-referential", help="Accepted, as istioctl's.")
    ] = True,
) -> None:
    """Validate Istio's objects in files, without a cluster: `sailctl validate -f bookinfo-gateway.yaml`."""
    from sailcloth.analysis.analyzers import schemas

    from . import analysis_input

    if not file:
        output.fail(_MISSING, output.USAGE)
    errors: list[str] = []
    lines: list[str] = []
    for path in file:
        read = analysis_input.read([path], True, namespace)
        errors += [f"{name}: {problem}" for name, problem in read.errors]
        warnings: list[str] = []
        for document in read.documents:
            for finding in schemas.of_object(document):
                (errors if finding.severity == "Error" else warnings).append(_line(finding))
        lines += _verdict(path, warnings)
    if not errors:
        print("\n".join(lines))
        return
    for line in (line for line in lines if "has warnings" in line):
        print(line)
    count = f"{len(errors)} error{'' if len(errors) == 1 else 's'} occurred:"
    print(f"Error: {count}\n" + "".join(f"\t* {error}\n" for error in errors), file=sys.stderr)
    raise SystemExit(1)


def _line(finding: Finding) -> str:
    key = finding.resource
    text = finding.text.partition(": ")[2] if finding.code in ("IST0106", "IST0133") else finding.text
    return f"{key.kind}/{key.namespace}/{key.name}: {text}"


def _verdict(path: str, warnings: list[str]) -> list[str]:
    """The line of one file."""
    if path == "-":
        return warnings or ["validation succeed"]
    if warnings:
        return [f'"{path}" has warnings: {"; ".join(warnings)}']
    return [f'"{path}" is valid']
