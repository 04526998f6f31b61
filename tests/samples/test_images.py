"""Every image that the published samples name stands for a local command, and arguments behave like a container's."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from sailcloth.local import images

PUBLISHED = Path(__file__).parents[3] / "shared" / "cases" / "samples" / "istio"
OURS = Path(__file__).parents[2] / "samples"
FOLDERS = (
    "bookinfo",
    "curl",
    "extauthz",
    "grpc-echo",
    "health-check",
    "helloworld",
    "httpbin",
    "sleep",
    "tcp-echo",
    "websockets",
)


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
    assert {r for r in references if images.resolve(r) is None} == set()


@pytest.mark.parametrize(
    ("reference", "program"),
    [
        ("registry.istio.io/testing/app:latest", "istio_echo.py"),
        ("gcr.io/istio-release/app:1.30.3", "istio_echo.py"),
        ("gcr.io/k8s-staging-gateway-api/echo-advanced:v1", "istio_echo.py"),
        ("gcr.io/k8s-staging-gateway-api/echo-basic:v1", "gateway_echo.py"),
        ("gcr.io/istio-testing/ext-authz:latest", "ext_authz.py"),
    ],
)
def test_images_of_tests_resolve_from_every_registry(reference: str, program: str) -> None:
    assert [Path(p).name for p in programs_of(images.resolve(reference))] == [program]


def test_our_images_resolve() -> None:
    references = named(OURS) - {"auto"}  # the injector's to replace
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
    from sailcloth.local.images import builtin

    for _, entry in builtin.IMAGES:
        commands = entry.get("commands", {}).values()
        for part in (*entry.get("entrypoint", ()), *entry.get("cmd", ()), *(w for c in commands for w in c)):
            if part.startswith("{programs}/"):
                name = part.removeprefix("{programs}/")
                pattern = re.sub(r"\{\w+\}", "*", name)
                assert list(images.programs().glob(pattern)), part


def programs_of(image: images.Image | None) -> list[str]:
    assert image is not None
    return [part for part in (*image.entrypoint, *image.cmd) if part.startswith(str(images.programs()))]


def test_every_service_of_the_sock_shop_has_its_program() -> None:
    for name in ("catalogue", "carts", "orders", "payment", "shipping", "user", "queue-master", "front-end"):
        (program,) = programs_of(images.resolve(f"weaveworksdemos/{name}:0.4.8"))
        assert Path(program).is_file()


def test_the_tag_tells_the_front_ends_apart() -> None:
    tags = {t: images.resolve(f"weaveworksdemos/front-end:{t}") for t in ("0.3.12", "v2")}
    assert {t: i.env["IMAGE_TAG"] for t, i in tags.items() if i} == {"0.3.12": "0.3.12", "v2": "v2"}
    assert images.resolve("weaveworksdemos/front-end") is not None


def test_a_program_that_only_the_image_has_is_replaced() -> None:
    image = images.resolve("weaveworksdemos/catalogue:0.3.5")
    assert image is not None
    argv = images.argv(image, ["/app"], ["-port=80"])
    assert (Path(argv[-2]).name, argv[-1]) == ("sock_shop_catalogue.py", "-port=80")
    fortio = images.resolve("fortio/fortio:latest_release")
    assert fortio is not None
    assert images.command_line(fortio, ["/usr/bin/fortio", "load"])[:-1] == list(fortio.entrypoint)
    assert images.command_line(fortio, ["/bin/ls"]) == ["/bin/ls"]


@pytest.mark.parametrize(
    ("reference", "command", "program"),
    [
        ("docker.io/istio/proxyv2:1.30.0", "pilot-agent", "requests.py"),
        ("docker.io/kennethreitz/httpbin", "gunicorn", "httpbin.py"),
        ("docker.io/mccutchen/go-httpbin:v2.15.0", "gunicorn", "httpbin.py"),
    ],
)
def test_commands_of_walk_throughs_are_there(reference: str, command: str, program: str) -> None:
    image = images.resolve(reference)
    assert image is not None
    assert Path(images.command_line(image, [command, "x"])[-2]).name == program


def test_a_program_of_the_host_is_taken_where_it_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "redis-server").write_text("#!/bin/sh\n")
    (tmp_path / "redis-server").chmod(0o755)
    monkeypatch.setattr(images, "PATH", str(tmp_path))
    image = images.resolve.__wrapped__("redis:alpine")
    assert image is not None
    assert image.entrypoint == (str(tmp_path / "redis-server"),)
    monkeypatch.setattr(images, "PATH", "/nowhere")
    image = images.resolve.__wrapped__("redis:alpine")
    assert programs_of(image)[0].endswith("redis_server.py")


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
