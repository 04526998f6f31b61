"""`sailctl x convert`: reads manifests, converts them and prints them. Must not decide what an object becomes; `steps` does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from sailcloth.cli import output


def convert(
    files: Annotated[
        list[Path], typer.Option("-f", "--filename", help="Manifests, or directories of them; `-` is standard input.")
    ],
    target: Annotated[
        str, typer.Option("--to", help="istio: today's kinds of Istio. gateway-api: also those of the Gateway API.")
    ] = "istio",
    strict: Annotated[bool, typer.Option("--strict", help="End with 65 if anything is lost or not valid.")] = False,
    namespace: Annotated[str, typer.Option("-n", "--namespace", help="Namespace of objects without one.")] = "default",
    out: Annotated[
        str, typer.Option("-o", "--output", help="text (manifests), or json or yaml (objects, and what is lost)")
    ] = "text",
) -> None:
    """Convert objects of Istio 0.x to 1.5, of SMI and Ingresses to today's kinds; others pass unchanged. Needs no cluster.

    What is lost is a comment at the object, and a finding on the error output. Give the Services, and the Deployments of service
    accounts, with the objects that are about them.
    """
    from sailcloth.analysis import findings
    from sailcloth.cli import manifest_files

    from . import documents, manifest_texts, steps

    output.check_choice("output", out, "text", "json", "yaml")
    if target not in steps.TARGETS:
        output.fail(f"--to {target!r} is not known; use {' or '.join(steps.TARGETS)}", output.USAGE)
    read = []
    for path, text in manifest_files.texts(files):
        try:
            read += manifest_texts.split(text)
        except ValueError as error:
            output.fail(f"{path}: {error}", output.DATA)
    try:
        scope = documents.scope_of(read, namespace)
    except ValueError as error:
        output.fail(f"ConfigMap istio: data.mesh: {error}", output.DATA)
    converted = steps.run(read, scope, target)
    losses = list(dict.fromkeys(loss for document in converted for loss in document.losses))
    if out == "text":
        print(manifest_texts.printed(converted), end="")
    else:
        lost = [
            {"object": str(f.resource), "path": f.path, "text": f.text, "fix": f.fix, "code": f.code} for f in losses
        ]
        output.structured({"objects": [d.body for d in converted if d.body], "lost": lost}, out)
    given = {id(document.body) for document in read}
    judged = findings.of_documents([d.body for d in converted if d.body and id(d.body) not in given], namespace)
    errors = [f for f in judged if f.severity == "Error"]
    for finding in (*losses, *errors):
        print(finding, file=sys.stderr)
    if strict and (losses or errors):
        raise typer.Exit(output.DATA)
