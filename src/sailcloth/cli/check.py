"""`sailctl check`: whether the machine, the cluster and the mesh are as they should be, each failure with what mends it.

Runs the checks of `check_mesh`, and a probe through two sidecars (`check_probe`). Must not change anything but the probe's own namespace.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator, Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from . import dumps, output
from .cluster_options import Kubeconfig

if TYPE_CHECKING:
    from sailcloth.kube import Client

State = Literal["ok", "warning", "failed"]
_FIRST = ("kubernetes", "control-plane")  # while one of these fails, nothing after it can be told
_MARKS: dict[State, tuple[str, str]] = {"ok": ("√", "32"), "warning": ("‼", "33"), "failed": ("×", "31")}


@dataclass(frozen=True)
class Result:
    """One check. `detail`: what was seen; `fix`: what mends it, a command where there is one."""

    check: str
    state: State = "ok"
    detail: str = ""
    fix: str = ""


@dataclass(frozen=True)
class Target:
    """What is checked. `installed`: whether the mesh should be there."""

    api: Client
    kubeconfig: str
    installed: bool


Section = Callable[[Target], AsyncGenerator[Result, None]]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check", rich_help_panel="Local cluster")(check)


def check(
    pre: Annotated[
        bool, typer.Option("--pre", help="Before an installation: the machine, the cluster, and your rights.")
    ] = False,
    probe: Annotated[
        bool, typer.Option("--probe/--no-probe", help="Send a request through two sidecars of a namespace made for it.")
    ] = True,
    wait: Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for what is not ready yet.")] = 0.0,
    out: Annotated[str, typer.Option("-o", "--output", help="text, short (failures only), json or yaml")] = "text",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Check the machine, the cluster and the mesh: versions, certificates, webhooks, proxies, a request and its telemetry.

    Ends with 1 if a check fails; warnings do not count. Examples: sailctl check --pre, sailctl check --wait 60, sailctl check --no-probe
    """
    import asyncio
    import signal

    output.check_choice("output", out, "text", "short", "json", "yaml")
    try:
        results = dumps.run(_run(pre, probe, wait, out, kubeconfig))
    except asyncio.CancelledError:
        raise typer.Exit(128 + signal.SIGTERM) from None
    failed = any(r.state == "failed" for _, r in results)
    if out in ("json", "yaml"):
        listed = [{"section": section, **asdict(result)} for section, result in results]
        output.structured({"success": not failed, "checks": listed}, out)
    else:
        print(f"{'' if out == 'short' else chr(10)}Status check results are {_marked('failed' if failed else 'ok')}")
    if failed:
        raise typer.Exit(1)


async def _run(pre: bool, probe: bool, wait: float, out: str, kubeconfig: str) -> list[tuple[str, Result]]:
    import asyncio
    import contextlib
    import signal

    from sailcloth.kube import ApiError

    from . import check_mesh, check_probe
    from .cluster import client

    sections: dict[str, Section] = {"machine": check_mesh.machine, "kubernetes": check_mesh.kubernetes}
    if not pre:
        sections |= check_mesh.SECTIONS
    if probe and not pre:
        sections["data-plane and telemetry"] = check_probe.probe
    results: list[tuple[str, Result]] = []
    # As Ctrl-C, so that the probe deletes its namespace.
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with client(kubeconfig) as api:
        target = Target(api, kubeconfig, installed=not pre)
        for name, section in sections.items():
            begun = len(results)
            if out == "text":
                print(f"{chr(10) if results else ''}{name}\n{'-' * len(name)}", flush=True)
            try:
                async with contextlib.aclosing(_patiently(section, target, wait)) as found:
                    async for result in found:
                        results.append((name, result))
                        _show(result, out)
            except BrokenPipeError:
                raise
            except (ApiError, OSError) as error:
                results.append((name, _unanswered(error)))
                _show(results[-1][1], out)
            if name in _FIRST and any(r.state == "failed" for _, r in results[begun:]):
                break
    return results


async def _patiently(section: Section, target: Target, seconds: float) -> AsyncGenerator[Result, None]:
    """The results of a section, or of its last run when no check fails any more or the time is over."""
    import asyncio
    import contextlib

    end = asyncio.get_running_loop().time() + seconds
    while True:
        if asyncio.get_running_loop().time() >= end:
            async with contextlib.aclosing(section(target)) as results:
                async for result in results:
                    yield result
            return
        found = [result async for result in section(target)]
        if all(r.state != "failed" for r in found):
            for result in found:
                yield result
            return
        await asyncio.sleep(0.5)


def _unanswered(error: Exception) -> Result:
    """What the error says that ends a section."""
    from sailcloth.kube import ApiError

    if isinstance(error, ApiError) and error.status in (401, 403):
        return Result("you may ask for it", "failed", error.message, "kubectl auth can-i --list; ask an administrator")
    return Result("the cluster answers", "failed", str(error), "sailctl status; kubectl cluster-info")


def _marked(state: State) -> str:
    mark, color = _MARKS[state]
    return f"\x1b[{color}m{mark}\x1b[0m" if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else mark


def _show(result: Result, out: str) -> None:
    if out not in ("text", "short") or (out == "short" and result.state == "ok"):
        return
    print(f"{_marked(result.state)} {result.check}" + (f": {result.detail}" if result.detail else ""), flush=True)
    if result.fix and result.state != "ok":
        print(f"    try: {result.fix}", flush=True)
