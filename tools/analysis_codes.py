"""Writes the tables of docs/analyze.md: every code of the analysis, and Kiali's codes that have none. Run it after changing the catalogue.

python tools/analysis_codes.py [--check]
"""

from __future__ import annotations

import sys
from pathlib import Path

from sailcloth.analysis.analyzers import MESSAGES
from sailcloth.analysis.analyzers.catalogue import NOT_TAKEN

TARGET = Path(__file__).parents[1] / "docs" / "analyze.md"
BEGIN, END = "<!-- written by tools/analysis_codes.py -->", "<!-- end -->"


def tables() -> str:
    """The tables."""
    lines = ["", "| code | level | name | meaning | Kiali |", "|---|---|---|---|---|"]
    for message in MESSAGES.values():
        kiali = ", ".join(message.kiali)
        lines.append(f"| {message.code} | {message.severity} | {message.name} | {message.meaning} | {kiali} |")
    lines += ["", "Kiali's codes that no analyzer gives:", ""]
    lines += [f"* {code}: {why}." for code, why in NOT_TAKEN.items()]
    return "\n".join([*lines, "", ""])


def render(page: str) -> str:
    """A page with the tables between its marks."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{tables()}{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    current = TARGET.read_text()
    if "--check" in sys.argv:
        sys.exit(0 if render(current) == current else f"{TARGET.name} is not up to date")
    TARGET.write_text(render(current))
    print(f"{TARGET.name} written", file=sys.stderr)
