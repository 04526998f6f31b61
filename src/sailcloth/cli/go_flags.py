"""Flags as Go's programs take them: `--flag=false` and `-f=false` beside `--flag` and `--no-flag`."""

from __future__ import annotations

from typing import Any

import typer.core


class GoFlagsCommand(typer.core.TyperCommand):
    """A command whose flags may have a value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [word for arg in args for word in self._words(arg)])

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
