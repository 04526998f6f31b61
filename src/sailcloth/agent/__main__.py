"""The command `pilot-agent`, the entry point of the image proxyv2: `istio-iptables` in an init container, `proxy` beside the application,
`request` and `wait` by exec. Source: istio.md 2.19."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from . import requests

_USAGE = "usage: pilot-agent proxy sidecar|router [FLAG…] | istio-iptables [FLAG…] | request METHOD PATH [BODY] | wait | version"
_LEVELS = {"none": logging.CRITICAL, "error": logging.ERROR, "warn": logging.WARNING, "warning": logging.WARNING}


def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if command in ("request", "wait"):
        return requests.main(arguments)
    if command == "version":
        from sailcloth import __version__

        print(__version__)
        return 0
    try:
        if command == "istio-iptables":
            return capture_traffic(arguments)
        if command == "proxy" and rest[:1] in (["sidecar"], ["router"]):
            return run_proxy(rest)
    except (OSError, ValueError) as error:
        print(f"pilot-agent: {error}", file=sys.stderr)
        return 1
    print(_USAGE, file=sys.stderr)
    return 2


def capture_traffic(arguments: list[str]) -> int:
    """Put the rules of traffic capture in force in this network namespace, or with `--run-validation` see whether they are."""
    from sailcloth.lib.nftables import Nftables

    from . import capture, validation

    wanted = capture.parse(arguments, os.environ, by_user=True)
    if "--skip-rule-apply" not in arguments:
        table = Nftables()
        try:
            table.commit(capture.rules(wanted))
        finally:
            table.close()
    if "--run-validation" in arguments:
        own = validation.addresses()
        if not own:
            raise OSError(
                "the pod's address is not in /etc/hosts, so whether its traffic is captured cannot be found out"
            )
        if not all(validation.is_captured(address, wanted.inbound) for address in own):
            print(
                f"pilot-agent: traffic of {', '.join(own)} is not captured: the CNI plugin did not run for this pod. The DaemonSet "
                "istio-cni-node repairs it, if it runs on this node and cni.repair.enabled is set",
                file=sys.stderr,
            )
            return validation.NOT_CAPTURED
    print(f"traffic is captured: outbound at port {wanted.outbound}, inbound at {wanted.inbound}", flush=True)
    return 0


def run_proxy(arguments: list[str]) -> int:
    """Run Envoy until it ends or is told to."""
    from .pod_agent import PodAgent

    flags = dict(a.split("=", 1) for a in arguments if "=" in a)
    level = flags.get("--log_output_level", "default:info").rpartition(":")[2]
    logging.basicConfig(
        level=_LEVELS.get(level, logging.INFO), format="%(asctime)s\t%(levelname)s\t%(name)s\t%(message)s"
    )
    return asyncio.run(PodAgent(arguments, os.environ).run())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
