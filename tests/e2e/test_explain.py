"""`sailctl x explain` says what Envoy does: random requests under random rules. `python -m benchmarks truth` sends ten thousand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence

import pytest

from benchmarks.truth import Lab

from .bookinfo import Cluster

CONFIGURATIONS = int(os.environ.get("SAILCLOTH_CONFIGURATIONS", "8"))


@pytest.mark.timeout(300)
def test_explanations_agree_with_real_envoys(mesh: Cluster) -> None:
    def kubectl(arguments: Sequence[str], stdin: str) -> str:
        return mesh.kubectl(*arguments, stdin=stdin or None)

    def sailctl(arguments: Sequence[str], stdin: str) -> str:
        command = [sys.executable, "-m", "sailcloth.cli", *arguments]
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, env=mesh.environment, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    try:
        found = Lab(kubectl, sailctl, mesh.gateway).compare(7, CONFIGURATIONS, 40)
        assert found.differ == [], json.dumps(found.differ, indent=1)
        assert found.agreed + found.agreed_later == found.sent == CONFIGURATIONS * 40
    finally:
        mesh.kubectl("delete", "authorizationpolicies,gateways.networking.istio.io", "--all")
