"""Options that several commands have, in one form."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from . import complete, output


def namespace_option(meaning: str) -> Any:
    """The option of a namespace, which a shell completes."""
    return typer.Option("-n", "--namespace", autocompletion=complete.namespaces, help=meaning)


Kubeconfig = Annotated[str, typer.Option("--kubeconfig", help="Kubeconfig file.")]
Namespace = Annotated[str, namespace_option("Namespace; that of the kubeconfig by default.")]
Form = Annotated[str, typer.Option("-o", "--output", help="short, json or yaml")]
TextForm = Annotated[str, typer.Option("-o", "--output", help="text, json or yaml")]
Yes = Annotated[bool, typer.Option("-y", "--skip-confirmation", help="Do not ask.")]


def form(value: str, *others: str) -> str:
    """`json` or `yaml`, empty for a table; other values end the command."""
    known = ("short", "table", "text", "json", "yaml", *others)
    if value not in known:
        output.fail(f"unknown output {value!r}; use {', '.join(('short', 'json', 'yaml', *others))}", output.USAGE)
    return "" if value in known[:3] else value


def confirm(question: str, yes: bool) -> None:
    """Ask, unless the user has said yes before; without one, the command ends."""
    if not yes and not typer.confirm(question):
        output.fail("cancelled; nothing was changed")
