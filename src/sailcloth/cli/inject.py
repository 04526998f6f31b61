"""`sailctl kube-inject`: the webhook's injection, offline."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from . import output


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("kube-inject", rich_help_panel="Injection")(kube_inject)


def kube_inject(
    file: Annotated[str, typer.Option("-f", "--filename", help="Manifest to inject; - for standard input.")],
    out: Annotated[str, typer.Option("-o", "--output", help="Where to write; default standard output.")] = "",
    revision: Annotated[str, typer.Option("--revision", help="Revision that the pods belong to.")] = "",
    mesh: Annotated[str, typer.Option("--meshConfigFile", help="MeshConfig YAML; its defaultConfig holds.")] = "",
    values: Annotated[str, typer.Option("--valuesFile", help="Values of the installation, as JSON or YAML.")] = "",
    settings: Annotated[
        str, typer.Option("--injectConfigFile", help="The injector's settings: key `config` of its ConfigMap.")
    ] = "",
) -> None:
    """Add the sidecar to every pod and pod template of a manifest; other documents pass unchanged.

    Example: sailctl kube-inject -f samples/sleep.yaml | kubectl apply -f -
    """
    import yaml

    from sailcloth.injector import values as injector_values
    from sailcloth.injector.inject import InjectionError, inject_object
    from sailcloth.lib import bounded_yaml
    from sailcloth.mesh import mesh_config
    from sailcloth.mesh.model import MeshConfig

    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
    except OSError as error:
        output.fail(f"{file}: {error.strerror}", output.DATA)
    try:
        documents = [d for d in bounded_yaml.load_all(text) if d is not None]
    except yaml.YAMLError as error:
        output.fail(f"{file}: not YAML: {' '.join(str(error).split())}", output.DATA)
    try:
        options = mesh_config.parse(Path(mesh).read_text()) if mesh else MeshConfig()
    except OSError as error:
        output.fail(f"{mesh}: {error.strerror}", output.DATA)
    except ValueError as error:
        output.fail(f"{mesh}: {error}", output.DATA)
    try:
        config = injector_values.of_config_map({"values": _text(values), "config": _text(settings)})
    except ValueError as error:
        output.fail(f"{', '.join(filter(None, (values, settings)))}: {error}", output.DATA)
    config = replace(config, revision=revision or config.revision, proxy_config=json.loads(options.proxy_defaults))
    items = []
    for index, document in enumerate(documents):
        if not isinstance(document, dict):
            output.fail(f"{file}: document {index + 1} is not an object", output.DATA)
        try:
            items.append(inject_object(document, config))
        except InjectionError as error:
            name = (document.get("metadata") or {}).get("name", "")
            output.fail(f"{file}: {document.get('kind')} {name}: {error}", output.DATA)
    text = yaml.safe_dump_all(items, sort_keys=False, width=1000)
    if out:
        Path(out).write_text(text)
    else:
        sys.stdout.write(text)


def _text(path: str) -> str:
    """A file's text; empty for no file."""
    try:
        return Path(path).read_text() if path else ""
    except OSError as error:
        output.fail(f"{path}: {error.strerror}", output.DATA)
