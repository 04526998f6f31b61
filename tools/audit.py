"""Asks the database of Open Source Vulnerabilities (osv.dev) about every version in requirements.lock: `make audit`, `make check`.

Exits with 1 for a known vulnerability. Where the database cannot be reached it says so in one line and exits with 0, so that a check
without a network is one. Needs nothing but Python.
"""

from __future__ import annotations

import json
import re
import sys
import urllib.request
from pathlib import Path

SERVICE = "https://api.osv.dev/v1/querybatch"
LOCK = Path(__file__).parents[1] / "requirements.lock"
ACCEPTED: dict[str, str] = {}
"""Vulnerabilities that do not concern us, by identifier, each with the reason."""
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
_TIMEOUT_S = 10


def pinned(lock: str) -> list[tuple[str, str]]:
    """(name, version) of a lock file's packages."""
    return [(m[1], m[2]) for m in _PINNED.finditer(lock)]


def known(packages: list[tuple[str, str]], service: str = SERVICE) -> list[str]:
    """A line for each vulnerability of the packages that is not accepted. Raises OSError, ValueError if the service does not answer."""
    queries = [{"package": {"name": n, "ecosystem": "PyPI"}, "version": v} for n, v in packages]
    body = json.dumps({"queries": queries}).encode()
    request = urllib.request.Request(service, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        results = json.load(answer)["results"]
    if len(results) != len(packages):
        raise ValueError(f"{len(results)} answers to {len(packages)} questions")
    return [
        f"{name} {version}: https://osv.dev/vulnerability/{found['id']}"
        for (name, version), result in zip(packages, results, strict=True)
        for found in result.get("vulns") or ()
        if found["id"] not in ACCEPTED
    ]


def main(service: str = SERVICE) -> int:
    packages = pinned(LOCK.read_text())
    try:
        lines = known(packages, service)
    except (OSError, ValueError, LookupError, TypeError) as error:
        print(f"audit: not done, the database of vulnerabilities cannot be reached: {error}")
        return 0
    print("\n".join(lines) if lines else f"audit: no known vulnerability in {len(packages)} packages")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
