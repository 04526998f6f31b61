"""Writes the Helm charts in charts/ from src/sailcloth/install. Run it after changing a manifest, a value or a kind.

python tools/charts.py [--check]
"""

from __future__ import annotations

import sys
from pathlib import Path

from sailcloth import __version__
from sailcloth.install import helm
from sailcloth.install.charts import CHARTS

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "charts"


def wanted() -> dict[Path, str]:
    """Text by file."""
    return {
        FOLDER / chart.name / path: text
        for chart in CHARTS.values()
        for path, text in helm.files(chart, __version__).items()
    }


def stale() -> list[str]:
    """Files that are not current, missing, or left over."""
    files = wanted()
    there = {path for path in FOLDER.rglob("*") if path.is_file()}
    differing = (p for p, text in files.items() if p not in there or p.read_text() != text)
    return sorted(str(p.relative_to(ROOT)) for p in {*differing, *(there - files.keys())})


def main() -> None:
    if "--check" in sys.argv:
        names = stale()
        sys.exit(f"not current: {', '.join(names)}; run python tools/charts.py" if names else 0)
    files = wanted()
    for path in FOLDER.rglob("*"):
        if path.is_file() and path not in files:
            path.unlink()
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
