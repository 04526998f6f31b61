"""Puts the console's page into the wheel. An editable install leaves it to `make install`, which says what it does."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Hook(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before a build."""
        if version == "editable":
            return
        tool = runpy.run_path(str(Path(self.root) / "tools" / "build_console.py"))
        if tool["SOURCES"].is_dir() and not tool["is_current"]():
            try:
                tool["build"]()
            except tool["NotBuilt"] as error:
                self.app.display_warning(f"the console has no page, only its API: {error}")
        build_data["artifacts"].append("src/sailcloth/console/page/**")
