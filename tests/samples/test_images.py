"""Every image that the published samples name stands for a local command, and arguments behave like a container's."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from sailcloth.local import images

PUBLISHED = Path(__file__).parents[3] / "shared" / "cases" / "samples" / "istio"
OURS = Path(__file__).parents[2] / "samples"
FOLDERS = ("bookinfo", "helloworld", "httpbin", "curl", "sleep", "tcp-echo")

# Databases are not re-implemented: their pods say ErrImagePull with the remedy.
WITHOUT_STAND_IN = {"examples-bookinfo-mongodb", "examples-bookinfo-mysqldb"}


def named(root: Path) -> set[str]:
    found: set[str] = set()
    for file in sorted(root.rglob("*.yaml")):
        found |= set(re.findall(r'^[\s-]*image: *"?([^\s"#]+)', file.read_text(), re.MULTILINE))
    return found


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published samples are not at hand")
def test_published_images_resolve(folder: str) -> None:
    references = named(PUBLISHED / folder)
    assert references, f"no image named under {folder}: the search is broken"
    unknown = {r for r in references if images.resolve(r) is None}
    assert {re.sub(r".*/|:.*", "", r) for r in unknown} <= WITHOUT_STAND_IN


def test_our_images_resolve() -> None:
    references = named(OURS)
    assert references
    assert [r for r in references if images.resolve(r) is None] == []


@pytest.mark.parametrize(
    ("reference", "program", "environment"),
    [
        ("registry.istio.io/release/examples-bookinfo-reviews-v3:1.20.3", "bookinfo_reviews.py", "STAR_COLOR=red"),
        ("docker.io/istio/examples-bookinfo-reviews-v2:1.20.3", "bookinfo_reviews.py", "STAR_COLOR=black"),
        ("istio/examples-bookinfo-reviews-v1", "bookinfo_reviews.py", "ENABLE_RATINGS=false"),
        (
            "gcr.io/istio-release/examples-bookinfo-ratings-v-faulty:1",
            "bookinfo_ratings.py",
            "SERVICE_VERSION=v-faulty",
        ),
        ("localhost:5000/istio/examples-helloworld-v2@sha256:00", "helloworld.py", "SERVICE_VERSION=v2"),
    ],
)
def test_variant_comes_from_the_name(reference: str, program: str, environment: str) -> None:
    image = images.resolve(reference)
    assert image is not None
    assert any(Path(part).name == program for part in image.entrypoint)
    name, _, value = environment.partition("=")
    assert image.env[name] == value


def test_programs_exist() -> None:
    from sailcloth.local.images import table

    for _, entry in table.IMAGES:
        for part in (*entry.get("entrypoint", ()), *entry.get("cmd", ())):
            if part.startswith("{programs}/"):
                assert Path(part.format(programs=images.programs())).is_file(), part


def test_command_and_args_replace_what_docker_replaces() -> None:
    image = images.Image(("serve",), ("80",))
    assert images.argv(image, None, None) == ["serve", "80"]
    assert images.argv(image, None, ["90"]) == ["serve", "90"]
    assert images.argv(image, ["other"], None) == ["other"]
    assert images.argv(image, ["other"], ["90"]) == ["other", "90"]


def test_shell_images_run_their_arguments() -> None:
    for reference in ("busybox:1.36", "docker.io/library/alpine", "curlimages/curl:8.16.0"):
        image = images.resolve(reference)
        assert image is not None
        argv = images.argv(image, None, ["/bin/sh", "-c", "echo $0 works", reference])
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=True)
        assert done.stdout == f"{reference} works\n"


@pytest.mark.parametrize(
    "reference", ["example.com/unknown:1", "myexamples-helloworld-v1", "nginx", "curlimages/other"]
)
def test_unknown_images_are_unknown(reference: str) -> None:
    assert images.resolve(reference) is None
