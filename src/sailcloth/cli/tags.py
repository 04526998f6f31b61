"""`sailctl tag`: names that stand for a revision of the control plane, which namespaces have in `istio.io/rev`.

A tag is a MutatingWebhookConfiguration beside that of its revision; the control plane renews its CA (`controlplane.process`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sailcloth.api.revision import DEFAULT

from . import complete, output
from .cluster_options import Form, Kubeconfig, Yes, confirm, form
from .injection import INJECTOR, REVISION, TAG, injects

if TYPE_CHECKING:
    from sailcloth.kube import Client

Object = dict[str, Any]
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
Tag = Annotated[str, typer.Argument(help="Name of the tag.", autocompletion=complete.tags)]
Revision = Annotated[str, typer.Option("-r", "--revision", help="Revision of the control plane that it stands for.")]
Hook = Annotated[str, typer.Option("--webhook-name", help="Name of the webhook configuration.")]
AutoInject = Annotated[
    bool,
    typer.Option("--auto-inject-namespaces", help="Inject also namespaces without any label for injection."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Let an existing tag stand for another revision.")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(
        help="Names for revisions of the control plane, by which namespaces choose one.", no_args_is_help=True
    )
    group.command("set")(set_tag)
    group.command("generate")(generate)
    group.command("list")(list_tags)
    group.command("remove")(remove)
    app.add_typer(group, name="tag", rich_help_panel="Injection")


def set_tag(
    tag: Tag,
    revision: Revision = "",
    overwrite: Overwrite = False,
    hook: Hook = "",
    everywhere: AutoInject = False,
    yes: Yes = False,
    kubeconfig: Kubeconfig = "",
) -> None:
    """Let a tag stand for a revision: namespaces with the label istio.io/rev=TAG are injected by it."""
    from . import dumps

    _checked(tag, revision)
    dumps.run(_set(tag, revision, overwrite, hook, everywhere, kubeconfig))
    print(
        f"Revision tag {tag} stands for revision {revision}. To use it: `kubectl label namespace NAME istio.io/rev={tag}`"
    )


def generate(
    tag: Tag,
    revision: Revision = "",
    overwrite: Overwrite = False,
    hook: Hook = "",
    everywhere: AutoInject = False,
    yes: Yes = False,
    kubeconfig: Kubeconfig = "",
) -> None:
    """Print what `tag set` would apply."""
    from . import dumps

    _checked(tag, revision)
    output.structured(dumps.run(_generated(tag, revision, overwrite, hook, everywhere, kubeconfig)), "yaml")


def list_tags(out: Form = "short", kubeconfig: Kubeconfig = "") -> None:
    """List the tags, their revisions, and the namespaces that use them."""
    from . import dumps

    chosen = form(out)
    rows = dumps.run(_list(kubeconfig))
    if chosen:
        output.structured(rows, chosen)
        return
    output.table(
        ["TAG", "REVISION", "NAMESPACES"], [[r["tag"], r["revision"], ",".join(r["namespaces"])] for r in rows]
    )


def remove(tag: Tag, yes: Yes = False, kubeconfig: Kubeconfig = "") -> None:
    """Remove a tag; pods that are there keep their sidecars."""
    from . import dumps

    rows = {r["tag"]: r for r in dumps.run(_list(kubeconfig))}
    if tag not in rows:
        output.fail(f"there is no revision tag {tag!r}; {_known('tags are', rows)}")
    if using := rows[tag]["namespaces"]:
        confirm(
            f"The namespaces {', '.join(using)} use the tag; their pods get no sidecar when they start again. Go on?",
            yes,
        )
    dumps.run(_remove(rows[tag]["webhook"], kubeconfig))
    print(f"Revision tag {tag} removed")


def _checked(tag: str, revision: str) -> None:
    if not revision:
        output.fail("--revision is missing: the revision that the tag stands for", output.USAGE)
    if not _NAME.fullmatch(tag):
        output.fail(f"{tag!r} cannot be a label's value: use lower-case letters, digits and -", output.USAGE)


def _known(what: str, names: Any) -> str:
    return f"{what} {', '.join(sorted(names))}" if names else "there is none"


async def _set(tag: str, revision: str, overwrite: bool, hook: str, everywhere: bool, kubeconfig: str) -> None:
    from sailcloth.injector.webhook_config import DEACTIVATED
    from sailcloth.kube.resources import MUTATING_WEBHOOKS

    from .cluster import client

    created = await _generated(tag, revision, overwrite, hook, everywhere, kubeconfig)
    async with client(kubeconfig) as api:
        await api.apply(MUTATING_WEBHOOKS, created, field_manager="sailctl", force=True)
        for other in await _hooks(api) if tag == DEFAULT != revision else ():
            if TAG not in _labels(other) and _labels(other).get(REVISION) == DEFAULT and not is_ours(other):
                for each in other["webhooks"]:  # in whose place the tag stands; a control plane of ours does it itself
                    each["namespaceSelector"] = each["objectSelector"] = DEACTIVATED
                await api.replace(MUTATING_WEBHOOKS, other)


def is_ours(hook: Object) -> bool:
    """Whether a control plane of Sailcloth applies the object; Istio's only puts its CA into it."""
    managers = hook["metadata"].get("managedFields") or ()
    return any((m.get("manager"), m.get("operation")) == ("istiod", "Apply") for m in managers)


async def _generated(tag: str, revision: str, overwrite: bool, hook: str, everywhere: bool, kubeconfig: str) -> Object:
    from sailcloth.injector import webhook_config

    from .cluster import client

    async with client(kubeconfig) as api:
        hooks = await _hooks(api)
    revisions = {_labels(h).get(REVISION, ""): h for h in hooks if TAG not in _labels(h)}
    if revision not in revisions:
        raise ValueError(f"there is no control plane of revision {revision!r}; {_known('revisions are', revisions)}")
    if tag in revisions and tag != DEFAULT:
        raise ValueError(f"{tag!r} is a revision of the control plane; choose another name for the tag")
    if not overwrite and any(_labels(h).get(TAG) == tag for h in hooks):
        raise ValueError(f"the revision tag {tag!r} exists; --overwrite lets it stand for another revision")
    return webhook_config.tag(revisions[revision]["webhooks"][0]["clientConfig"], tag, revision, hook, everywhere)


async def _list(kubeconfig: str) -> list[Object]:
    from sailcloth.kube.resources import NAMESPACES

    from .cluster import client

    async with client(kubeconfig) as api:
        hooks = await _hooks(api)
        spaces, _ = await api.list(NAMESPACES)
    return tags_of(hooks, spaces)


def tags_of(hooks: list[Object], spaces: list[Object]) -> list[Object]:
    """The tags among webhook configurations, sorted by name, with the namespaces that they inject."""
    tagged = sorted((h for h in hooks if TAG in _labels(h)), key=lambda h: _labels(h)[TAG])
    return [
        {
            "tag": _labels(hook)[TAG],
            "revision": _labels(hook).get(REVISION, ""),
            "namespaces": sorted(s["metadata"]["name"] for s in spaces if injects(hook, s)),
            "webhook": hook["metadata"]["name"],
        }
        for hook in tagged
    ]


async def _remove(name: str, kubeconfig: str) -> None:
    from sailcloth.kube.resources import MUTATING_WEBHOOKS

    from .cluster import client

    async with client(kubeconfig) as api:
        await api.delete(MUTATING_WEBHOOKS, name)


async def _hooks(api: Client) -> list[Object]:
    from sailcloth.kube.resources import MUTATING_WEBHOOKS

    hooks, _ = await api.list(MUTATING_WEBHOOKS, label_selector=INJECTOR)
    return hooks


def _labels(obj: Object) -> dict[str, str]:
    return obj["metadata"].get("labels") or {}
