"""`sailctl install`, `upgrade`, `uninstall` and `verify-install`: the mesh on a Kubernetes cluster."""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from sailcloth.api.revision import DEFAULT

from . import output
from .cluster_options import Kubeconfig, Namespace, Yes, confirm

if TYPE_CHECKING:
    from sailcloth.install.profiles import Spec
    from sailcloth.install.spec import Plan

T = TypeVar("T")
_MOST = 20  # conflicts that are told one by one
_PANEL = "Installation"
Files = Annotated[
    list[str] | None,
    typer.Option("-f", "--filename", help="IstioOperator or values of the charts; - is standard input."),
]
Sets = Annotated[
    list[str] | None, typer.Option("-s", "--set", help="PATH=VALUE, such as profile=demo or values.global.hub=HUB.")
]
Revision = Annotated[
    str, typer.Option("-r", "--revision", help="Name of the control plane, for several of them side by side.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change in the cluster, and change nothing.")]
Force = Annotated[bool, typer.Option("--force", help="Take over fields that others have set.")]
Timeout = Annotated[
    str, typer.Option("--readiness-timeout", help="How long to wait for all of it, such as 5m; 0s: not at all.")
]
Verify = Annotated[bool, typer.Option("--verify", help="Check the installation at the end.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for name, command, hidden in (
        ("install", install, False),
        ("apply", install, True),
        ("upgrade", upgrade, False),
        ("uninstall", uninstall, False),
        ("verify-install", verify_install, False),
    ):
        app.command(name, hidden=hidden, rich_help_panel=_PANEL)(command)


def install(
    file: Files = None,
    set_: Sets = None,
    revision: Revision = "",
    dry_run: DryRun = False,
    force: Force = False,
    timeout: Timeout = "5m",
    verify: Verify = False,
    yes: Yes = False,
    kubeconfig: Kubeconfig = "",
) -> None:
    """Install the mesh in a Kubernetes cluster, or change how it is installed. What is left out is as the profile has it."""
    _install(asked(file, set_, revision), dry_run, force, seconds(timeout), verify, yes, kubeconfig)


def upgrade(
    file: Files = None,
    set_: Sets = None,
    revision: Revision = "",
    dry_run: DryRun = False,
    force: Force = False,
    timeout: Timeout = "5m",
    verify: Verify = False,
    yes: Yes = False,
    kubeconfig: Kubeconfig = "",
) -> None:
    """Bring an installation to the version of this program. What is left out stays as it was installed."""
    from sailcloth.install import spec

    from . import dumps

    more = asked(file, set_, revision)
    installed = _one(dumps.run(_installed(kubeconfig)), revision)
    if installed is None:
        output.fail("nothing is installed in this cluster by sailctl; `sailctl install` does that")
    if "profile" in more and more["profile"] != installed.get("profile", "default"):
        output.warn(f"the profile changes from {installed.get('profile', 'default')} to {more['profile']}")
    _install(spec.combined(installed, more), dry_run, force, seconds(timeout), verify, yes, kubeconfig)


def _install(
    wanted: Spec, dry_run: bool, force: bool, timeout_s: float, verify: bool, yes: bool, kubeconfig: str
) -> None:
    from . import dumps

    plan = planned(wanted)
    if dry_run:
        texts = dumps.run(_changes(plan, force, kubeconfig))
        print("\n".join(texts) if texts else "nothing would change")
        return
    names = ", ".join(f"{c.name} ({c.release.name})" for c in plan.components)
    if not names:
        output.fail(
            f"the profile {plan.spec['profile']} has no components, and none is enabled; `sailctl profile list` shows others"
        )
    server = dumps.run(_server(kubeconfig))
    confirm(f"This installs {names} in {server}, profile {plan.spec['profile']}. Go on?", yes)
    dumps.run(_apply(plan, force, timeout_s, kubeconfig))
    print(f"✔ installed: {names}")
    if timeout_s == 0 and any(c.chart.name == "gateway" for c in plan.components):
        output.warn(
            "nothing was waited for: gateways that start before the control plane injects have no proxy; "
            "if so, `kubectl -n istio-system rollout restart deployment` starts them again"
        )
    if verify:
        verify_install(revision=plan.revision, kubeconfig=kubeconfig)
    elif plan.revision == DEFAULT:
        print("Next: `kubectl label namespace default istio-injection=enabled`, and `sailctl verify-install`")
    else:
        print(
            f"Next: `kubectl label namespace NAME istio-injection- istio.io/rev={plan.revision}` and a restart of its pods move a "
            f"namespace there; `sailctl tag set default --revision {plan.revision} --overwrite` all that name no revision"
        )


def uninstall(
    file: Files = None,
    set_: Sets = None,
    revision: Revision = "",
    purge: Annotated[
        bool, typer.Option("--purge", help="Also the kinds with all their objects, the CA's key and the namespace.")
    ] = False,
    dry_run: DryRun = False,
    timeout: Timeout = "5m",
    yes: Yes = False,
    kubeconfig: Kubeconfig = "",
) -> None:
    """Remove the mesh from a cluster. Kinds with their objects, the CA's key and the namespace stay without --purge."""
    from sailcloth.install.spec import revision_of

    from . import dumps

    wanted = revision_of(asked(file, set_, revision)) if revision or file or set_ else ""
    revisions = _to_remove(list(dumps.run(_installed(kubeconfig))), wanted, purge)
    names, counts, using = dumps.run(_owned(revisions, purge, kubeconfig))
    if not names:
        output.fail(
            "nothing is installed in this cluster by sailctl; Helm removes what it has installed: `helm uninstall`"
        )
    if dry_run:
        print("\n".join(f"- {name}" for name in names))
        return
    if using:
        output.warn(
            f"{len(using)} pods have a sidecar of it, such as {using[0]}: until they are restarted with another revision, they keep the "
            "configuration that they have"
        )
    lost = ", ".join(f"{count} {name}" for name, count in counts.items())
    also = f", and with them {lost}" if lost else ""
    server = dumps.run(_server(kubeconfig))
    confirm(f"This removes {len(names)} objects from {server}{also}. Go on?", yes)
    dumps.run(_uninstall(revisions, purge, seconds(timeout), kubeconfig))
    print(
        "✔ uninstalled" if purge else "✔ uninstalled; the mesh's kinds stay with their objects (--purge removes them)"
    )


def _to_remove(installed: list[str], wanted: str, purge: bool) -> list[str]:
    """The revisions to remove. wanted: the one that is asked for, or empty."""
    listed = ", ".join(sorted(installed))
    if wanted and installed and wanted not in installed:
        output.fail(f"the revision {wanted} is not installed by sailctl; there is: {listed}")
    if wanted and purge and len(installed) > 1:
        output.fail(f"--purge removes what all revisions share, which are: {listed}; leave out one of the options")
    if not wanted and not purge and len(installed) > 1:
        output.fail(f"several revisions are installed: {listed}; name one with --revision, or remove all with --purge")
    return [wanted] if wanted else installed or [DEFAULT]


def verify_install(
    file: Annotated[
        list[str] | None, typer.Option("-f", "--filename", help="Manifest whose objects have to be there.")
    ] = None,
    namespace: Namespace = "",
    revision: Annotated[str, typer.Option("-r", "--revision", help="Revision of the control plane.")] = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Check that what is installed is there and ready, or that the objects of a manifest are there."""
    from . import dumps, legacy

    installed = None if file else _one(dumps.run(_installed(kubeconfig)), revision)
    if installed is None:
        lines = dumps.run(legacy.verify(file or [], namespace, revision, kubeconfig))
    else:
        lines = dumps.run(_check(planned(installed, quiet=True), kubeconfig))
    for ok, text in lines:
        print(f"{'✔' if ok else '✘'} {text}")
    if not all(ok for ok, _ in lines):
        output.fail("the installation is not complete; `sailctl x precheck` says what the cluster lacks")
    print(f"✔ the installation is complete: {len(lines)} checks")


# -- what the user asks for -----------------------------------------------------------------------


def asked(files: list[str] | None, sets: list[str] | None, revision: str = "") -> Spec:
    """What options ask for; a wrong one ends the command."""
    from pathlib import Path

    import yaml

    from sailcloth.install import spec
    from sailcloth.lib import bounded_yaml

    found = []
    for name in files or ():
        try:
            text = sys.stdin.read() if name == "-" else Path(name).read_text()
            found += [spec.from_document(document) for document in bounded_yaml.load_all(text)]
        except (OSError, ValueError, yaml.YAMLError) as error:
            output.fail(f"{name}: {getattr(error, 'strerror', None) or error}", output.DATA)
    try:
        return spec.combined(spec.given(found, sets or ()), {"revision": revision} if revision else {})
    except ValueError as error:
        output.fail(str(error), output.USAGE)


def planned(wanted: Spec, quiet: bool = False) -> Plan:
    """What that means; warnings go to the error output, and what is wrong ends the command."""
    from sailcloth.install import spec
    from sailcloth.install.values import InvalidValues

    try:
        plan = spec.plan(wanted)
    except InvalidValues as error:
        output.fail("\n  ".join(error.problems), output.DATA)
    for text in plan.warnings if not quiet else ():
        output.warn(text)
    return plan


def seconds(text: str) -> float:
    """A duration; a wrong one ends the command."""
    from sailcloth.api.meta import duration_ms

    try:
        return (duration_ms(text) or 0.0) / 1000
    except ValueError:
        output.fail(f"--readiness-timeout: {text!r} is no duration; use one such as 5m or 300s", output.USAGE)


# -- the cluster ----------------------------------------------------------------------------------


class Progress:
    """Lines of what is done; on a terminal a line that ends with … gives way to the next one."""

    def __init__(self) -> None:
        self._terminal, self._passing = sys.stdout.isatty(), False

    def __call__(self, text: str) -> None:
        waits = text.endswith("…")
        before = "\r\x1b[K" if self._passing else ""
        self._passing = waits and self._terminal
        print(f"{before}{'  ' if waits else '✔ '}{text}", end="" if self._passing else "\n", flush=True)

    def end(self) -> None:
        """What comes next, such as an error, has a line of its own."""
        if self._passing:
            print(flush=True)


async def _server(kubeconfig: str) -> str:
    """The URL of the cluster; ends the command for one whose control plane runs on its node."""
    from sailcloth.kube import ApiError
    from sailcloth.kube.resources import ENDPOINTSLICES

    from .cluster import client

    async with client(kubeconfig) as api:
        try:
            await api.get(ENDPOINTSLICES, "istiod-local", "istio-system")
        except ApiError as error:
            if error.status != 404:
                raise
            return str(api.endpoint.server)
    output.fail(
        f"{api.endpoint.server} is a local cluster, which `sailctl up` has given its mesh; "
        "name another one with --kubeconfig or --context"
    )


def _one(installed: dict[str, Spec], revision: str) -> Spec | None:
    """What a revision was installed as, by default the one without a name, or the only one; None if nothing is installed."""
    if not installed:
        return None
    name = revision or (DEFAULT if DEFAULT in installed or len(installed) > 1 else next(iter(installed)))
    if name not in installed:
        output.fail(f"the revision {name} is not installed by sailctl; --revision names one of: {', '.join(installed)}")
    return installed[name]


async def _installed(kubeconfig: str) -> dict[str, Spec]:
    from sailcloth.install import apply

    from .cluster import client

    async with client(kubeconfig) as api:
        return await apply.installed(api)


async def _changes(plan: Plan, force: bool, kubeconfig: str) -> list[str]:
    from sailcloth.install import compare

    from .cluster import client

    async with client(kubeconfig) as api:
        return await _telling(compare.changes(api, plan, force))


async def _apply(plan: Plan, force: bool, timeout_s: float, kubeconfig: str) -> None:
    from sailcloth.install import apply, readiness

    from .cluster import client

    async with client(kubeconfig) as api:
        report = Progress()
        await _telling(apply.install(api, plan, report, readiness.Deadline(timeout_s), force), report)


async def _telling(work: Coroutine[Any, Any, T], progress: Progress | None = None) -> T:
    """The result; conflicts and time limits end the command."""
    from sailcloth.install.apply import Conflicts
    from sailcloth.install.readiness import NotReady

    try:
        try:
            return await work
        finally:
            if progress is not None:
                progress.end()
    except Conflicts as error:
        more = [f"… and {len(error.texts) - _MOST} more"] if len(error.texts) > _MOST else []
        lines = "\n  ".join([*error.texts[:_MOST], *more])
        output.fail(
            f"others have set what the installation sets; nothing was changed (--force takes it over):\n  {lines}"
        )
    except NotReady as error:
        output.fail(str(error))


async def _owned(revisions: list[str], purge: bool, kubeconfig: str) -> tuple[list[str], dict[str, int], list[str]]:
    """(the objects to remove, how many of users go with them by kind, pods that are injected by the revisions)."""
    from sailcloth.install import remove
    from sailcloth.install.ownership import title

    from .cluster import client

    async with client(kubeconfig) as api:
        names = [title(name) for name in await remove.planned(api, revisions, purge)]
        return names, await remove.users_objects(api) if purge else {}, await remove.injected_pods(api, revisions)


async def _uninstall(revisions: list[str], purge: bool, timeout_s: float, kubeconfig: str) -> None:
    from sailcloth.install import readiness, remove

    from .cluster import client

    async with client(kubeconfig) as api:
        report = Progress()
        await _telling(remove.uninstall(api, revisions, purge, report, readiness.Deadline(timeout_s)), report)


async def _check(plan: Plan, kubeconfig: str) -> list[tuple[bool, str]]:
    from sailcloth.install import check

    from .cluster import client

    async with client(kubeconfig) as api:
        return await check.lines(api, plan)
