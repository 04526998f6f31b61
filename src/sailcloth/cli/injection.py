"""`sailctl x check-inject` and `x injector list`: which webhook injects a pod, and why, by the selectors that the API server reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import complete, dumps, output
from .cluster_options import Form, Kubeconfig, Namespace, form

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sailcloth.kube import Client

Object = dict[str, Any]
INJECTOR = "app=sidecar-injector"
REVISION, TAG = "istio.io/rev", "istio.io/tag"


def register(group: typer.Typer) -> None:
    """Add the commands to the group `x`."""
    group.command("check-inject")(check_inject)
    injector = typer.Typer(help="The sidecar injector and the namespaces that it injects.", no_args_is_help=True)
    injector.command("list")(list_injectors)
    group.add_typer(injector, name="injector")


def check_inject(
    what: Annotated[
        str,
        typer.Argument(help="POD[.NAMESPACE], deployment/NAME[.NAMESPACE], or nothing.", autocompletion=complete.pods),
    ] = "",
    namespace: Namespace = "",
    labels: Annotated[
        str, typer.Option("-l", "--labels", help="Labels of a pod that does not exist yet: a=b,c=d.")
    ] = "",
    out: Form = "short",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Show which webhooks inject a pod, a deployment, or any pod of a namespace, and why."""
    from .workload import pairs

    chosen = form(out)
    try:
        given = pairs(labels)
    except ValueError as error:
        output.fail(f"--labels: {error}", output.USAGE)
    rows = dumps.run(_check(what, namespace, given, kubeconfig))
    if chosen:
        output.structured(rows, chosen)
        return
    output.table(
        ["WEBHOOK", "REVISION", "INJECTED", "REASON"],
        [[r["webhook"], r["revision"], "✔" if r["injected"] else "✘", r["reason"]] for r in rows],
    )


async def _check(what: str, namespace: str, labels: dict[str, str], kubeconfig: str) -> list[Object]:
    from sailcloth.kube.resources import MUTATING_WEBHOOKS, NAMESPACES

    from .cluster import client

    async with client(kubeconfig) as api:
        name, _, own = what.rpartition(".") if "." in what else (what, "", "")
        namespace = own or namespace or api.endpoint.namespace
        if name:
            labels = await _labels(api, name, namespace)
        hooks, _ = await api.list(MUTATING_WEBHOOKS, label_selector=INJECTOR)
        there = await api.get(NAMESPACES, namespace)
    namespace_labels = there["metadata"].get("labels") or {}
    return [verdict(hook, namespace_labels, labels) for hook in sorted(hooks, key=lambda h: h["metadata"]["name"])]


async def _labels(api: Client, name: str, namespace: str) -> dict[str, str]:
    """The labels of a pod, or of the pods of a deployment."""
    from sailcloth.kube import Resource
    from sailcloth.kube.resources import PODS

    from .cluster import pod_name

    kind, _, rest = name.partition("/")
    if kind in ("deployment", "deploy", "statefulset", "daemonset", "replicaset") and rest:
        plural = ("deployment" if kind == "deploy" else kind) + "s"
        workload = await api.get(Resource("apps", "v1", plural, ""), rest, namespace)
        return dict(workload["spec"]["template"]["metadata"].get("labels") or {})
    pod = await api.get(PODS, await pod_name(api, name, namespace), namespace)
    return dict(pod["metadata"].get("labels") or {})


def verdict(hook: Object, namespace: dict[str, str], pod: dict[str, str]) -> Object:
    """Whether one MutatingWebhookConfiguration injects a pod with these labels in a namespace with these labels, and why."""
    from sailcloth.lib.label_selector import matches

    wrong: list[str] = []
    injected = ""
    for webhook in hook.get("webhooks") or ():
        spaces, objects = webhook.get("namespaceSelector"), webhook.get("objectSelector")
        if matches(spaces, namespace) and matches(objects, pod):
            injected = injected or _because(spaces, objects, namespace, pod)
        wrong += _unmet("pod", objects, pod) + _unmet("namespace", spaces, namespace)
    why = "; ".join(sorted(dict.fromkeys(wrong), reverse=True))
    meta = hook["metadata"]
    return {
        "webhook": meta["name"],
        "revision": (meta.get("labels") or {}).get(REVISION, ""),
        "injected": bool(injected),
        "reason": injected or why or "neither the namespace nor the pod has a label for this revision",
    }


def _unmet(where: str, selector: Object | None, labels: dict[str, str]) -> list[str]:
    """The labels that are there and keep a webhook away."""
    from sailcloth.lib.label_selector import matches

    return [
        f"{where} label {key}={labels[key]} does not match"
        for expression in (selector or {}).get("matchExpressions") or ()
        if (key := expression["key"]) in labels
        and not matches({"matchExpressions": [expression]}, labels)
        and expression["operator"] != "DoesNotExist"
    ]


def _because(spaces: Object | None, objects: Object | None, namespace: dict[str, str], pod: dict[str, str]) -> str:
    """The labels by which a webhook injects."""
    facts = []
    for where, selector, labels in (("Namespace", spaces, namespace), ("Pod", objects, pod)):
        for expression in (selector or {}).get("matchExpressions") or ():
            if expression["operator"] in ("In", "Exists"):
                facts.append(f"{where} label {expression['key']}={labels[expression['key']]} matches")
    return ", and ".join(facts) or "the webhook selects every pod"


def list_injectors(out: Form = "short", kubeconfig: Kubeconfig = "") -> None:
    """List the namespaces that are injected, with the revisions of their pods, and the webhooks that inject them."""
    chosen = form(out)
    namespaces, hooks = dumps.run(_injectors(kubeconfig))
    if chosen:
        output.structured({"namespaces": namespaces, "webhooks": hooks}, chosen)
        return
    revisions = (", ".join(f"{r}: {n}" for r, n in row["pods"].items()) for row in namespaces)
    output.table(
        ["NAMESPACE", "ISTIO-REVISION", "POD-REVISIONS"],
        [[row["namespace"], row["revision"], text] for row, text in zip(namespaces, revisions, strict=True)],
    )
    print()
    output.table(
        ["NAMESPACES", "INJECTOR-HOOK", "ISTIO-REVISION", "SIDECAR-IMAGE"],
        [
            [namespace, h["webhook"], h["revision"], h["image"]]
            for h in hooks
            for namespace in h["namespaces"] or ["DOES NOT AUTOINJECT"]
        ],
    )


async def _injectors(kubeconfig: str) -> tuple[list[Object], list[Object]]:
    import orjson

    from sailcloth.kube.resources import MUTATING_WEBHOOKS, NAMESPACES, PODS

    from .cluster import client, control_plane

    async with client(kubeconfig) as api:
        found, _ = await api.list(MUTATING_WEBHOOKS, label_selector=INJECTOR)
        spaces, _ = await api.list(NAMESPACES)
        pods, _ = await api.list(PODS)
        image = orjson.loads(await control_plane(api, "/debug/inject"))["values"]["image"]
    hooks = sorted(found, key=lambda h: h["metadata"]["name"])
    return injected_namespaces(hooks, spaces, pods), [
        {
            "namespaces": sorted(s["metadata"]["name"] for s in spaces if injects(hook, s)),
            "webhook": hook["metadata"]["name"],
            "revision": (hook["metadata"].get("labels") or {}).get(REVISION, ""),
            "image": image,
        }
        for hook in hooks
    ]


def injects(hook: Object, namespace: Object) -> bool:
    """Whether a webhook injects pods of a namespace that say nothing themselves."""
    return bool(verdict(hook, namespace["metadata"].get("labels") or {}, {})["injected"])


def injected_namespaces(hooks: list[Object], spaces: Iterable[Object], pods: list[Object]) -> list[Object]:
    """The namespaces that some webhook injects: its revision, and how many pods have a sidecar of which revision."""
    from collections import Counter

    rows = []
    for space in spaces:
        name = space["metadata"]["name"]
        injecting = [h for h in hooks if injects(h, space)]
        if not injecting:
            continue
        counts = Counter(
            (p["metadata"].get("annotations") or {}).get(REVISION) or "default"
            for p in pods
            if p["metadata"]["namespace"] == name
            and "sidecar.istio.io/status" in (p["metadata"].get("annotations") or {})
        )
        revision = (injecting[0]["metadata"].get("labels") or {}).get(REVISION, "")
        rows.append({"namespace": name, "revision": revision, "pods": dict(sorted(counts.items()))})
    return rows
