"""What an installation has: the mesh and its samples, and no other package."""

from __future__ import annotations

import zipfile
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[2]


def test_the_wheel_holds_the_mesh_and_the_samples(tmp_path: Path) -> None:
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    names = set(zipfile.ZipFile(wheel).namelist())
    packages = {name.partition("/")[0] for name in names}
    assert {p for p in packages if not p.endswith(".dist-info")} == {"sailcloth", "sailcloth_samples"}
    samples = {str(p.relative_to(ROOT / "samples")) for p in (ROOT / "samples").rglob("*.yaml")}
    assert {f"sailcloth_samples/{name}" for name in samples | {"programs/httpbin.py"}} <= names
    page = ROOT / "src" / "sailcloth" / "console" / "page"
    built = {f"sailcloth/console/page/{p.relative_to(page)}" for p in page.rglob("*") if p.is_file()}
    assert built <= names
