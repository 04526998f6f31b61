"""`sailctl manifest` and `sailctl profile`: what an installation would apply, and the choices of profiles. Needs no cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import output
from .install import Files, Revision, Sets, asked, planned

if TYPE_CHECKING:
    from sailcloth.install.profiles import Spec

_PANEL = "Installation"
_COMPONENTS = ("Base", "Cni", "Pilot", "Telemetry", "Console", "IngressGateways", "EgressGateways")
Profile = Annotated[str, typer.Argument(help="Name of a profile.")]


def register(app: typer.Typer) -> None:
    """Add the groups."""
    manifest = typer.Typer(help="The objects of an installation.", no_args_is_help=True)
    manifest.command("generate")(generate)
    manifest.command("charts")(write_charts)
    manifest.command("diff")(diff)
    app.add_typer(manifest, name="manifest", rich_help_panel=_PANEL)
    profile = typer.Typer(help="Named choices of components and values.", no_args_is_help=True)
    profile.command("list")(list_profiles)
    profile.command("dump")(dump)
    profile.command("diff")(diff_profiles)
    app.add_typer(profile, name="profile", rich_help_panel=_PANEL)


def generate(
    file: Files = None,
    set_: Sets = None,
    revision: Revision = "",
    component: Annotated[
        list[str] | None, typer.Option("--component", help=f"Only that one: {', '.join(_COMPONENTS)}.")
    ] = None,
) -> None:
    """Print the objects that an installation applies: those of the Helm charts. Gateways have to come after the control plane is ready."""
    import yaml

    for name in component or ():
        if name not in _COMPONENTS:
            output.fail(f"--component: unknown {name!r}; use {', '.join(_COMPONENTS)}", output.USAGE)
    for part in planned(asked(file, set_, revision)).components:
        if not component or part.name in component:
            for obj in part.objects():
                print("---\n" + yaml.dump(obj, Dumper=_dumper(), sort_keys=False, allow_unicode=True), end="")


def write_charts(
    folder: Annotated[
        Path, typer.Option("-o", "--output", help="Folder to write them into, one folder a chart; it is made.")
    ] = Path("charts"),
) -> None:
    """Write the Helm charts of this version, for `helm install` without a checkout."""
    from sailcloth import __version__
    from sailcloth.install import helm
    from sailcloth.install.charts import CHARTS

    for chart in CHARTS.values():
        place = folder / chart.name
        if place.exists():
            output.fail(f"--output: {place} is there already; remove it, or name another folder", output.USAGE)
        for name, text in helm.files(chart, __version__).items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(text)
        print(place)


def _dumper() -> type:
    """Of YAML without anchors, which a manifest for people has not."""
    import yaml

    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:
            return True

    return Plain


def diff(
    left: Annotated[str, typer.Argument(help="Manifest.")], right: Annotated[str, typer.Argument(help="Another one.")]
) -> None:
    """Show in what two manifests differ; ends with 1 if they do."""
    from sailcloth.install import compare

    from .legacy_objects import documents

    texts = compare.documents(documents([left]), documents([right]))
    if texts:
        print("\n".join(texts))
        raise SystemExit(1)
    print("the manifests have the same objects")


def list_profiles() -> None:
    """List the profiles."""
    from sailcloth.install.profiles import PROFILES

    output.table(["PROFILE", "WHAT IT IS"], [[name, text] for name, (text, _) in PROFILES.items()])


def dump(
    profile: Profile = "",
    file: Files = None,
    set_: Sets = None,
    out: Annotated[str, typer.Option("-o", "--output", help="yaml or json")] = "yaml",
) -> None:
    """Print a profile with all values, in the form that `sailctl install -f` takes."""
    from sailcloth.install import spec

    if out not in ("yaml", "json"):
        output.fail(f"unknown output {out!r}; use yaml or json", output.USAGE)
    wanted = asked(file, set_)
    output.structured(spec.document(_complete({**wanted, **({"profile": profile} if profile else {})})), out)


def diff_profiles(left: Profile, right: Profile) -> None:
    """Show in what two profiles differ; ends with 1 if they do."""
    from sailcloth.install import compare

    lines = compare.difference(_complete({"profile": left}), _complete({"profile": right}))
    if lines:
        print("\n".join(lines))
        raise SystemExit(1)
    print("the profiles are the same")


def _complete(wanted: Spec) -> Spec:
    from sailcloth.install import spec
    from sailcloth.install.values import InvalidValues

    try:
        return spec.complete(wanted)
    except InvalidValues as error:
        output.fail(str(error), output.USAGE)
