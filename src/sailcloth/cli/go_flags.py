"""Flags as Go's programs take them: `--flag=false` and `-f=false` beside `--flag` and `--no-flag`, and istioctl's global options
with every command."""

from __future__ import annotations

import os
from typing import Any

import typer.core

CONTEXT, ROOT = "SAILCLOTH_CONTEXT", "SAILCLOTH_ISTIO_NAMESPACE"
GLOBAL = {
    "--kubeconfig": ("KUBECONFIG", "Kubeconfig file."),
    "-c": ("KUBECONFIG", "The same."),
    "--context": (CONTEXT, "Context of the kubeconfig."),
    "--istioNamespace": (ROOT, "Namespace of the control plane; istio-system by default."),
    "-i": (ROOT, "The same."),
    "--vklog": ("", "Accepted, and without effect."),
}
"""Options of every command: the variable that holds the value for the rest of the process, and what it is."""


class GoFlagsCommand(typer.core.TyperCommand):
    """A command whose flags may have a value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        own = {name for option in self.params for name in option.opts}
        return super().parse_args(ctx, [word for arg in take_global(args, own) for word in self._words(arg)])

    def _words(self, arg: str) -> list[str]:
        name, separator, value = arg.partition("=")
        if not separator or value.lower() not in ("true", "false", "1", "0", "t", "f"):
            return [arg]
        for option in self.params:
            if name in option.opts and getattr(option, "is_flag", False):
                if value.lower() in ("true", "1", "t"):
                    return [name]
                return list(option.secondary_opts[:1])
        return [arg]


def take_global(args: list[str], own: set[str]) -> list[str]:
    """The arguments without the global options, whose values go to the environment; those that the command has itself stay."""
    left: list[str] = []
    words = iter(args)
    for word in words:
        name, equals, value = word.partition("=")
        if word == "--":
            return [*left, word, *words]
        if name not in GLOBAL or name in own:
            left.append(word)
            continue
        value = value if equals else next(words, "")
        if variable := GLOBAL[name][0]:
            os.environ[variable] = value
    return left


def reordered(args: list[str]) -> list[str]:
    """The arguments with options before the command behind it, as in `istioctl -n foo proxy-status`, and `help COMMAND` as
    `COMMAND --help`."""
    if args[:1] == ["help"]:
        return [*args[1:], "--help"]
    first = 0
    while first < len(args) and args[first].partition("=")[0] in (*GLOBAL, "-n", "--namespace"):
        first += 1 if "=" in args[first] else 2
    return [*args[first:], *args[:first]] if first < len(args) else args
