"""Writes `console/openapi.json`, from which the console's TypeScript types are generated. Run after a change of the types of `console.openapi`."""

from __future__ import annotations

import json
from pathlib import Path

from sailcloth.console import openapi

PATH = Path(__file__).parents[1] / "console" / "openapi.json"


def text() -> str:
    """The document as it is checked in."""
    return json.dumps(openapi.openapi(), indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(text())
