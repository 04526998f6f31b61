"""What the sources promise about their own shape, beyond the import contracts."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

import pytest

from sailcloth.envoy import pipeline
from sailcloth.mesh.kinds import KINDS, POLICIES

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "sailcloth"
MODULES = sorted(SOURCE.rglob("*.py"))
FEATURES = SOURCE / "envoy" / "features"


def _relative(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def test_modules_are_small() -> None:
    sizes = {_relative(p): len(p.read_text().splitlines()) for p in MODULES}
    assert {name: size for name, size in sizes.items() if size > 450} == {}
    assert statistics.median(size for name, size in sizes.items() if size > 1) <= 110


COMMANDS = ("cli", "analysis", "install")  # the command line, and what it knows


def test_the_whole_stays_small_enough_to_read() -> None:
    """Lines of code, neither blank, comment nor docstring: of mesh, local cluster, telemetry and console; and of the command line, which
    also installs."""
    commands = [p for p in MODULES if p.relative_to(SOURCE).parts[0] in COMMANDS]
    page = [p for p in (SOURCE.parents[1] / "console" / "src").rglob("*.ts*") if not p.name.endswith(".gen.ts")]
    assert _lines_of_code([*(p for p in MODULES if p not in commands), *page]) <= 70_000
    assert _lines_of_code(commands) <= 22_000


def _lines_of_code(paths: list[Path]) -> int:
    found = 0
    for path in paths:
        text = path.read_text()
        lines = (line.strip() for line in text.splitlines())
        found += sum(1 for line in lines if line and not line.startswith(("#", "//", "/*", "*")))
        found -= _docstring_lines(ast.parse(text)) if path.suffix == ".py" else 0
    return found


def _docstring_lines(tree: ast.Module) -> int:
    """Lines of the docstrings of a module, its classes and functions that are not blank."""
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = (ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, holders))
    return sum(1 for text in found if text for line in text.splitlines() if line.strip())


def test_every_module_says_why_it_exists() -> None:
    silent = [
        _relative(p) for p in MODULES if not ast.get_docstring(ast.parse(p.read_text())) and p.read_text().strip()
    ]
    assert silent == []


@pytest.mark.parametrize("package", ["controlplane", "kube", "store", "agent", "ca", "cni"])
def test_no_error_of_the_api_server_is_swallowed(package: str) -> None:
    """A refusal that is expected is compared by its status; any other is raised and tried again (`lib.work_queue`)."""
    swallowed = []
    for path in sorted((SOURCE / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            call = node.func if isinstance(node, ast.Call) else None
            if isinstance(call, ast.Attribute) and call.attr == "suppress" and isinstance(node, ast.Call):
                names = [ast.unparse(a) for a in node.args]
                swallowed += [f"{_relative(path)}:{node.lineno} suppresses {n}" for n in names if n == "ApiError"]
            if isinstance(node, ast.ExceptHandler) and node.type is not None and ast.unparse(node.type) == "ApiError":
                body = ast.unparse(node)
                if "status" not in body and "raise" not in body:
                    swallowed.append(f"{_relative(path)}:{node.lineno} takes every ApiError for the expected one")
    assert swallowed == []


def test_every_policy_that_concerns_traffic_is_one_feature() -> None:
    """One module under mesh/kinds, one folder under envoy/features, one line in the pipeline, and goldens."""
    kinds = {kind.type for kind in POLICIES if kind.traffic}
    assert {feature.kind for feature in pipeline.POLICIES} == kinds
    for feature in pipeline.POLICIES:
        folder = Path(feature.resolve.__code__.co_filename).parent
        assert folder.parent == FEATURES
        assert {"__init__.py", "policy.py", "emit.py", "verdict.py"} <= {p.name for p in folder.iterdir()}
        assert list((ROOT / "tests" / "golden" / folder.name).glob("*/expected.yaml")), f"no golden of {folder.name}"
        module = feature.kind.__name__
        snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in module).lstrip("_")
        assert (SOURCE / "mesh" / "kinds" / f"{snake}.py").exists()


def test_a_policy_kind_is_named_nowhere_downstream_of_its_feature() -> None:
    """Views and builders carry policies as one value; none of them knows a kind."""
    for path in [*(SOURCE / "view").glob("*.py"), *(SOURCE / "envoy").glob("*.py")]:
        if path.name == "pipeline.py":
            continue
        text = path.read_text()
        assert "RateLimit" not in text, _relative(path)
        if path.parent.name == "envoy":
            assert "EnvoyFilter" not in text.replace("EnvoyFilters", ""), _relative(path)


def test_kinds_are_keyed_by_the_names_of_their_types() -> None:
    assert {name for name, kind in KINDS.items() if kind.type.__name__ != name} == set()


def test_yaml_is_parsed_with_bounds() -> None:
    """A few hundred bytes of aliases become gigabytes, and nested brackets end the process (`lib.bounded_yaml`)."""
    unbounded = [
        f"{_relative(path)}:{number}"
        for path in MODULES
        if path.name != "bounded_yaml.py"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if "yaml.load" in line.replace("bounded_yaml.load", "") or "yaml.safe_load" in line
    ]
    assert unbounded == []
