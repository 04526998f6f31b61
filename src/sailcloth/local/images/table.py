"""Which command stands for which image. Patterns match the whole name without tag; `{python}`, `{programs}` and the
pattern's own groups are filled in."""

from __future__ import annotations

from typing import Any

_PYTHON = ("{python}", "-I", "-S")


def _program(name: str, *args: str, **env: str) -> dict[str, Any]:
    return {"entrypoint": (*_PYTHON, "{programs}/" + name), "cmd": args, "env": env}


IMAGES: tuple[tuple[str, dict[str, Any]], ...] = (
    (r"(.*/)?proxyv2(-distroless|-debug)?", {"builtin": "proxy"}),
    (r"(istio|.*)/examples-bookinfo-productpage-v1", _program("bookinfo_productpage.py", "9080")),
    (r"(istio|.*)/examples-bookinfo-details-(?P<v>v[12])", _program("bookinfo_details.py", "9080", SERVICE_VERSION="{v}")),
    (r"(istio|.*)/examples-bookinfo-ratings-(?P<v>v[0-9a-z-]+)", _program("bookinfo_ratings.py", "9080", SERVICE_VERSION="{v}")),
    (r"(istio|.*)/examples-bookinfo-reviews-v1", _program("bookinfo_reviews.py", "9080", SERVICE_VERSION="v1", ENABLE_RATINGS="false")),
    (r"(istio|.*)/examples-bookinfo-reviews-v2", _program("bookinfo_reviews.py", "9080", SERVICE_VERSION="v2", ENABLE_RATINGS="true", STAR_COLOR="black")),
    (r"(istio|.*)/examples-bookinfo-reviews-v3", _program("bookinfo_reviews.py", "9080", SERVICE_VERSION="v3", ENABLE_RATINGS="true", STAR_COLOR="red")),
    (r"(istio|.*)/examples-helloworld-(?P<v>v[12])", _program("helloworld.py", "5000", SERVICE_VERSION="{v}")),
    (r"(mccutchen/go-httpbin|kennethreitz/httpbin|.*/httpbin)", _program("httpbin.py", "8080")),
    (r"(istio|.*)/tcp-echo-server", _program("tcp_echo.py", "9000", "hello")),
    (r"(curlimages/curl|.*/sleep|busybox|alpine|.*/pause)", _program("idle.py")),
)  # fmt: skip
