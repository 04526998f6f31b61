"""`sailctl ca`: the mesh's certificate authority. Shows no key."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from . import cluster_objects, dumps, output
from .cluster_options import Kubeconfig, TextForm

Object = dict[str, Any]
_NAMESPACE, _SECRET, _PLUGGED_IN, _ROTATE = "istio-system", "istio-ca-secret", "cacerts", "sailcloth.io/rotate"
_POLL_S = 0.2
_SHORT = 16  # digits of a fingerprint in the table


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help="The mesh's certificate authority: its state, and a new root.", no_args_is_help=True)
    group.command("status")(status)
    group.command("rotate")(rotate)
    app.add_typer(group, name="ca", rich_help_panel="Proxies")


def status(out: TextForm = "text", kubeconfig: Kubeconfig = "") -> None:
    """Show who signs certificates, which roots proxies trust, and until when."""
    from .cluster import debug

    output.check_choice("output", out, "text", "json", "yaml")
    state = dumps.run(debug(kubeconfig, "/debug/caz"))
    if out != "text":
        output.structured(state, out)
        return
    _print(state)


def rotate(
    wait: Annotated[bool, typer.Option("--wait", help="Return when the new root signs.")] = False,
    timeout: Annotated[str, typer.Option("--timeout", help="How long to wait, such as 30s or 15m.")] = "15m",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Replace the self-signed root. Proxies trust both roots until the last certificate under the old one has ended.

    A plugged-in CA is replaced by writing the Secret `cacerts`; the change goes the same way.
    """
    from sailcloth.api.meta import duration_ms

    try:
        seconds = (duration_ms(timeout) or 0) / 1e3
    except ValueError as error:
        output.fail(f"--timeout: {error}", output.USAGE)
    dumps.run(_rotate(wait, seconds, kubeconfig))


async def _rotate(wait: bool, seconds: float, kubeconfig: str) -> None:
    import asyncio

    from sailcloth.kube import ApiError
    from sailcloth.kube.resources import SECRETS

    from .cluster import client, debug

    before = await debug(kubeconfig, "/debug/caz")
    async with client(kubeconfig) as api:
        if await cluster_objects.existing(api, SECRETS, _PLUGGED_IN, _NAMESPACE) is not None:
            output.fail(f"the CA is plugged in: write the next one into the Secret {_NAMESPACE}/{_PLUGGED_IN}")
        try:
            patch = {"metadata": {"annotations": {_ROTATE: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}}}
            await api.patch(SECRETS, _SECRET, _NAMESPACE, patch)
        except ApiError as error:
            output.fail(f"Secret {_NAMESPACE}/{_SECRET}: {error}")
    if not wait:
        print("A new root is being made. See `sailctl ca status`.")
        return
    old, end = before["issuer"], time.monotonic() + seconds
    while (state := await debug(kubeconfig, "/debug/caz"))["issuer"] == old or state["candidate"] is not None:
        if time.monotonic() > end:
            output.fail(f"the new root does not sign after {seconds:g} s; proxies: {', '.join(state['waitingFor'])}")
        await asyncio.sleep(_POLL_S)
    _print(state)


def _print(state: Object) -> None:
    rows = [
        (row["root"][:_SHORT], text, row["secret"], f"ends {row['notAfter']}")
        for row, text in ((state["issuer"], "signs"), (state["candidate"], "signs next"))
        if row is not None
    ]
    rows += [(r["root"][:_SHORT], "trusted", "-", f"until {r['trustedUntil']}") for r in state["retired"]]
    output.table(("ROOT", "STATE", "SECRET", "TIME"), rows)
    if state["waitingFor"]:
        print(f"\nThese proxies do not say yet that they trust the next root: {', '.join(state['waitingFor'])}")
    for text in state.get("ending") or ():
        output.warn(text)
    if state["problem"]:
        output.warn(f"the CA's Secret is not used: {state['problem']}")
