"""The commands of `pilot-agent` that ask a running sidecar: `kubectl exec POD -c istio-proxy -- pilot-agent …`.

Imports nothing of the package, for it is also run as a file, where a start must not cost more than the request. `request [--debug-port=15000] METHOD PATH [BODY]` asks Envoy's admin interface; `wait [--timeoutSeconds=60]` returns when the
sidecar has its configuration.
"""

from __future__ import annotations

import http.client
import sys
import time

ADMIN_PORT, HEALTH_PORT = 15000, 15021


def ask(port: int, method: str, path: str, body: str = "") -> tuple[int, bytes]:
    """(status, body). Raises OSError or http.client.HTTPException."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        link.request(method.upper(), "/" + path.lstrip("/"), body or None)
        answer = link.getresponse()
        return answer.status, answer.read()
    finally:
        link.close()


def request(words: list[str], port: int) -> int:
    status, body = ask(port, *words[:3])
    sys.stdout.buffer.write(body)
    if status != 200:
        print(f"pilot-agent: Envoy answered {status}", file=sys.stderr)
    return int(status != 200)


def wait(seconds: float) -> int:
    end, why = time.monotonic() + seconds, "no answer"
    while time.monotonic() < end:
        try:
            status, _ = ask(HEALTH_PORT, "GET", "healthz/ready")
            if status == 200:
                return 0
            why = f"status {status}"
        except (OSError, http.client.HTTPException) as error:
            why = str(error)
        time.sleep(0.1)
    print(f"pilot-agent: the sidecar is not ready after {seconds:g} s: {why}", file=sys.stderr)
    return 1


def main(arguments: list[str]) -> int:
    words: list[str] = []
    options = {"debug-port": str(ADMIN_PORT), "timeoutSeconds": "60"}
    rest = iter(arguments)
    for each in rest:
        name, given, value = each.removeprefix("--").partition("=")
        if each.startswith("--"):
            options[name] = value if given else next(rest, "")
        else:
            words.append(each)
    try:
        if len(words) >= 3 and words[0] == "request":
            return request(words[1:], int(options["debug-port"]))
        if words == ["wait"]:
            return wait(float(options["timeoutSeconds"]))
    except (OSError, http.client.HTTPException, ValueError) as error:
        print(f"pilot-agent: {error}", file=sys.stderr)
        return 1
    print("usage: pilot-agent request METHOD PATH [BODY] | wait [--timeoutSeconds=60]", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
