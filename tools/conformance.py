"""Runs the Gateway API's own conformance suite against a local cluster: `make conformance`.

The suite is a program out of public Go modules, built once into .conformance/ (a minute). The definitions are those of the experimental
channel, for retries are not in the other. Needs `kubectl` and `go`; says so where there is no `go`, and exits with 0. Writes
docs/conformance/report.yaml, and prints the tests that fail. `--run NAME` runs one test, `--profiles A,B` some profiles.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from sailcloth import __version__
from sailcloth.controlplane.gateway_status import FEATURES

ROOT = Path(__file__).parents[1]
BUILT = ROOT / ".conformance"
REPORT = ROOT / "docs" / "conformance" / "report.yaml"
VERSION = "v1.6.1"
MODULES = ("sigs.k8s.io/gateway-api", "sigs.k8s.io/gateway-api/conformance")
PROFILES = "GATEWAY-HTTP,GATEWAY-GRPC,GATEWAY-TLS,GATEWAY-TCP,GATEWAY-UDP,MESH-HTTP,MESH-GRPC"
SAILCTL = [sys.executable, "-m", "sailcloth.cli"]


def suite(go: str) -> Path:
    """The suite's program, built if it is not there yet."""
    program = BUILT / f"conformance-{VERSION}.test"
    if not program.exists():
        BUILT.mkdir(exist_ok=True)
        (BUILT / "go.mod").write_text("module example.com/conformance\ngo 1.26\n")
        print(f"building the suite {VERSION}…", flush=True)
        subprocess.run([go, "get", *(f"{m}@{VERSION}" for m in MODULES)], cwd=BUILT, check=True)
        subprocess.run([go, "test", "-c", "-o", str(program), MODULES[1]], cwd=BUILT, check=True)
    return program


def arguments(profiles: str, one: str, options: Path) -> list[str]:
    """The options of the suite."""
    report = [] if one else [f"-report-output={REPORT}"]
    return [
        "-test.v",
        "-test.run=TestConformance$",
        "-test.timeout=60m",
        "-gateway-class=sailcloth",
        f"-conformance-profiles={profiles}",
        f"-supported-features={','.join(FEATURES)}",
        "-namespace-labels=istio-injection=enabled",
        "-organization=sailcloth",
        "-project=sailcloth",
        "-url=https://example.com",
        f"-version=v{__version__}",
        "-contact=none",
        f"-conformance-options-file={options}",
        *([f"-run-test={one}"] if one else report),
    ]


def _install_experimental(go: str, environment: dict[str, str]) -> None:
    """Replace the cluster's definitions of the API by those of the experimental channel."""
    download = [go, "mod", "download", "-json", f"{MODULES[0]}@{VERSION}"]
    module = json.loads(subprocess.check_output(download, cwd=BUILT))["Dir"]
    files = sorted(Path(module, "config", "crd", "experimental").glob("gateway.networking.k8s.io_*.yaml"))
    definitions = [f"-f={file}" for file in files if "_vap_" not in file.name]
    apply = ["kubectl", "apply", "--server-side", "--force-conflicts", *definitions]
    subprocess.run(apply, stdout=subprocess.DEVNULL, env=environment, check=True)


def _addresses(environment: dict[str, str]) -> dict[str, object]:
    """Addresses for tests of static ones: the last of the cluster's load balancers, and one that no cluster has (RFC 5737)."""
    get = ["kubectl", "-n", "istio-system", "get", "service", "istio-ingressgateway"]
    used = subprocess.check_output([*get, "-o=jsonpath={.status.loadBalancer.ingress[0].ip}"], env=environment)
    free = ipaddress.ip_network(f"{used.decode()}/24", strict=False)[250]
    return {
        "usableNetworkAddresses": [{"type": "IPAddress", "value": str(free)}],
        "unusableNetworkAddresses": [{"type": "IPAddress", "value": "192.0.2.1"}],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profiles", default=PROFILES)
    parser.add_argument("--run", default="", metavar="NAME", help="one test")
    parser.add_argument("--optional", action="store_true", help="end with 0 if the suite cannot be built, too")
    chosen = parser.parse_args()
    go = shutil.which("go")
    if go is None:
        print("conformance: not run, there is no `go` to build the suite with")
        return 0
    try:
        program = suite(go)
    except subprocess.CalledProcessError as error:
        print(
            f"conformance: not run, the suite cannot be built: {' '.join(error.cmd[:2])} ended with {error.returncode}"
        )
        return 0 if chosen.optional else 1
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="conformance-") as state, (BUILT / "log").open("w+") as log:
        subprocess.run([*SAILCTL, "up", "--detach", "--state", state, "--no-telemetry"], check=True)
        try:
            environment = {**os.environ, "KUBECONFIG": f"{state}/kubeconfig"}
            _install_experimental(go, environment)
            options = Path(state, "conformance-options.json")
            options.write_text(json.dumps(_addresses(environment)))
            command = [str(program), *arguments(chosen.profiles, chosen.run, options)]
            code = subprocess.run(
                command, stdout=log, stderr=subprocess.STDOUT, env=environment, check=False
            ).returncode
        finally:
            subprocess.run([*SAILCTL, "down", "--state", state], check=True)
        log.seek(0)
        results = re.findall(r"^    --- (\w+): TestConformance/(\S+)", log.read(), re.MULTILINE)
    for name in sorted(n for result, n in results if result == "FAIL"):
        print(f"FAIL {name}")
    counts = {r: sum(result == r for result, _ in results) for r in ("PASS", "FAIL", "SKIP")}
    print(f"{counts['PASS']} passed, {counts['FAIL']} failed, {counts['SKIP']} not supported; see {BUILT / 'log'}")
    return code


if __name__ == "__main__":
    sys.exit(main())
