"""Built-in images and the commands that they run.

Patterns match the whole name without tag; `{python}`, `{programs}`, `{packages}` (the folder of this package), `{tag}` and the pattern's
groups are substituted.
`commands` maps programs by their path in the image; `real` is a program of the host and its arguments, preferred if installed.
"""

from __future__ import annotations

from typing import Any

_PYTHON = ("{python}", "-I", "-S")


def _program(name: str, *args: str, **env: str) -> dict[str, Any]:
    return {"entrypoint": (*_PYTHON, "{programs}/" + name), "cmd": args, "env": env}


def _fixed(name: str, *args: str) -> dict[str, Any]:
    """A program whose arguments stay: those of a container are the original's, which it does not know."""
    return {"entrypoint": (*_PYTHON, "{programs}/" + name, *args)}


def _packaged(name: str, *args: str, **env: str) -> dict[str, Any]:
    """A program that uses this package, or packages that it needs, such as gRPC."""
    entrypoint = ("{python}", "-I", "{programs}/" + name)
    return {"entrypoint": entrypoint, "cmd": args, "env": env, "paths": ("{packages}",)}


def _shell(entrypoint: tuple[str, ...] = ()) -> dict[str, Any]:
    """An image whose programs are the host's own. Without arguments it idles, where a real one would end at once."""
    return {"entrypoint": entrypoint, "cmd": (*_PYTHON, "{programs}/idle.py")}


def _shop(service: str, *args: str, **env: str) -> dict[str, Any]:
    """A service of the Sock Shop. The images of those written in Go have their program at /app."""
    program = f"{{programs}}/sock_shop_{service}.py"
    entry = _program(f"sock_shop_{service}.py", *args, **env)
    return {**entry, "commands": {"/app": (*_PYTHON, program), "/user": (*_PYTHON, program)}}


_ECHO = ("{python}", "-I", "{programs}/istio_echo.py")
_AGENT = (*_PYTHON, "{packages}/sailcloth/agent/requests.py")
_HTTPBIN = {"commands": {"gunicorn": (*_PYTHON, "{programs}/httpbin.py")}}
_FORTIO = (*_PYTHON, "{programs}/fortio.py")

# Like the entrypoint of the curl image: options alone are options of curl, anything else is a command.
_CURL = ("/bin/sh", "-c", 'case "$1" in -*) set -- curl "$@";; esac; exec "$@"', "entrypoint")

IMAGES: tuple[tuple[str, dict[str, Any]], ...] = (
    (r"(.*/)?(proxyv2(-distroless|-debug)?|sailcloth-proxy)", {"builtin": "proxy", "paths": ("{packages}",), "commands": dict.fromkeys(("pilot-agent", "/usr/local/bin/pilot-agent"), _AGENT)}),
    (r"(.*/)?examples-bookinfo-productpage-v1", _program("bookinfo_productpage.py", "9080")),
    (r"(.*/)?examples-bookinfo-details-(?P<v>v[12])", _program("bookinfo_details.py", "9080", SERVICE_VERSION="{v}")),
    (r"(.*/)?examples-bookinfo-ratings-(?P<v>v[0-9a-z-]+)", _program("bookinfo_ratings.py", "9080", SERVICE_VERSION="{v}")),
    (r"(.*/)?examples-bookinfo-reviews-v1", _program("bookinfo_reviews.py", "9080", SERVICE_VERSION="v1", ENABLE_RATINGS="false")),
    (r"(.*/)?examples-bookinfo-reviews-v2", _program("bookinfo_reviews.py", "9080", SERVICE_VERSION="v2", ENABLE_RATINGS="true", STAR_COLOR="black")),
    (r"(.*/)?examples-bookinfo-reviews-v3", _program("bookinfo_reviews.py", "9080", SERVICE_VERSION="v3", ENABLE_RATINGS="true", STAR_COLOR="red")),
    (r"(.*/)?examples-bookinfo-mongodb", _fixed("database.py", "27017", "--seed", "ratings")),
    (r"(.*/)?examples-bookinfo-mysqldb", _fixed("database.py", "3306", "--greet", "--seed", "ratings")),
    (r"(.*/)?examples-helloworld-(?P<v>v[12])", _program("helloworld.py", "5000", SERVICE_VERSION="{v}")),
    (r"kennethreitz/httpbin", {**_program("httpbin.py", "80"), **_HTTPBIN}),
    (r"(mccutchen/go-httpbin|.*/httpbin)", {**_program("httpbin.py", "8080"), **_HTTPBIN}),
    (r"(.*/)?tcp-echo-server", _program("tcp_echo.py", "9000", "hello")),
    (r"(.*/)?(curlimages/)?curl", _shell(_CURL)),
    (r"(.*/)?(busybox|alpine|sleep)", _shell()),
    (r"(.*/)?fortio/fortio", {"entrypoint": _FORTIO, "cmd": ("server",), "real": ("fortio", "server"), "commands": {"/usr/bin/fortio": _FORTIO, "fortio": _FORTIO}}),
    (r"(.*/)?weaveworksdemos/front-end", _shop("front_end", "8079", IMAGE_TAG="{tag}")),
    (r"(.*/)?weaveworksdemos/catalogue-db", _fixed("database.py", "3306", "--greet", "--seed", "socks")),
    (r"(.*/)?weaveworksdemos/user-db", _fixed("database.py", "27017", "--seed", "users")),
    (r"(.*/)?weaveworksdemos/(?P<service>catalogue|carts|orders|payment|shipping|user)", _shop("{service}", "80")),
    (r"(.*/)?weaveworksdemos/queue-master", _shop("queue_master", "80")),
    (r"(.*/)?catcatgo/page", _program("catcatgo_page.py", "8080", SERVICE_VERSION="{tag}")),
    (r"(.*/)?catcatgo/search", _program("catcatgo_search.py", "8000")),
    (r"(.*/)?catcatgo/crawler", _program("catcatgo_crawler.py")),
    (r"mongo", _fixed("database.py", "27017")),
    (r"rabbitmq", _fixed("sock_shop_rabbitmq.py", "5672", "15672")),
    (r"kbudde/rabbitmq-exporter", _program("ok_page.py", "9090")),
    (r"redis", {**_fixed("redis_server.py", "6379"), "real": ("redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", "", "--dir", "/tmp")}),
    (r"(.*/)?hiroakis/tornado-websocket-example", _program("websocket_table.py", "8888")),
    (r"istio/health", _program("ok_page.py", "8001")),
    (r"(.*/)?ext-authz", _packaged("ext_authz.py", "8000", "9000")),
    (r"(istio|.*/istio|.*/istio-(release|testing))/app|(.*/)?echo-advanced", {"entrypoint": (*_ECHO, "server"), "commands": {"client": (*_ECHO, "client"), "/usr/local/bin/client": (*_ECHO, "client"), "/usr/local/bin/server": (*_ECHO, "server")}}),
    (r"(.*/)?echo-basic", _packaged("gateway_echo.py")),
    (r"(.*/)?coredns", _program("coredns.py")),
    (r"(.*/)?pause", _program("idle.py")),
)  # fmt: skip
