"""Of which revision lists and watches are, and which objects they select."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sailcloth.kube import resources
from sailcloth.kube.client import Client

Object = dict[str, Any]


async def listed(client: Client, namespace: str, **query: str) -> tuple[int, list[str], Object]:
    path = resources.CONFIGMAPS.path(namespace)
    async with client.request("GET", path, params=query) as got:
        body = json.loads(await got.text())
        names = [o["metadata"]["name"] for o in body.get("items") or () if o["metadata"]["name"] != "kube-root-ca.crt"]
        return got.status, names, body


@pytest.fixture
async def before(client: Client, namespace: str) -> str:
    """The revision at which there were one and two; then one was deleted, two changed and three created."""
    for number, name in enumerate(("one", "two"), 1):
        metadata = {"name": name, "namespace": namespace, "labels": {"n": str(number)}}
        await client.create(resources.CONFIGMAPS, {"metadata": metadata, "data": {"a": "before"}})
    revision = str((await listed(client, namespace))[2]["metadata"]["resourceVersion"])
    await client.delete(resources.CONFIGMAPS, "one", namespace)
    await client.patch(resources.CONFIGMAPS, "two", namespace, {"data": {"a": "after"}})
    await client.create(
        resources.CONFIGMAPS, {"metadata": {"name": "three", "namespace": namespace, "labels": {"n": "x"}}}
    )
    return revision


async def test_a_list_of_a_revision_is_of_that_moment(client: Client, namespace: str, before: str) -> None:
    exact = {"resourceVersion": before, "resourceVersionMatch": "Exact"}
    status, names, body = await listed(client, namespace, **exact)
    assert (status, names, body["metadata"]["resourceVersion"]) == (200, ["one", "two"], before)
    assert body["items"][-1]["data"] == {"a": "before"}
    status, names, body = await listed(client, namespace, **exact, limit="2")
    rest = await listed(client, namespace, **{"continue": body["metadata"]["continue"]}, limit="9")
    assert [*names, *rest[1]] == ["one", "two"]
    assert (await listed(client, namespace, resourceVersion=before, limit="9"))[1] == ["one", "two"]


@pytest.mark.parametrize("query", [{"resourceVersionMatch": "NotOlderThan"}, {}])
async def test_a_list_not_older_than_a_revision_is_the_latest(
    client: Client, namespace: str, before: str, query: dict[str, str]
) -> None:
    status, names, body = await listed(client, namespace, resourceVersion=before, **query)
    assert (status, names) == (200, ["three", "two"])
    assert int(body["metadata"]["resourceVersion"]) > int(before)


async def test_a_revision_that_is_yet_to_come(client: Client, namespace: str) -> None:
    status, _, body = await listed(client, namespace, resourceVersion="999999999")
    assert (status, body["reason"]) == (504, "Timeout")
    assert body["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"resourceVersionMatch": "Exact"}, 422),
        ({"resourceVersionMatch": "Exact", "resourceVersion": "0"}, 422),
        ({"resourceVersionMatch": "Newest", "resourceVersion": "1"}, 422),
        ({"resourceVersion": "new"}, 400),
        ({"sendInitialEvents": "true"}, 422),
        ({"watch": "1", "sendInitialEvents": "true"}, 422),
        ({"watch": "1", "resourceVersionMatch": "Exact", "resourceVersion": "1"}, 422),
        ({"labelSelector": "a=b=c"}, 400),
        ({"labelSelector": "a in (b c)"}, 400),
        ({"labelSelector": "a>b"}, 400),
    ],
)
async def test_options_that_contradict(client: Client, namespace: str, query: dict[str, str], status: int) -> None:
    assert (await listed(client, namespace, **query))[0] == status


@pytest.mark.parametrize(("selector", "names"), [("n>1", ["two"]), ("n<3", ["two"]), ("n>2", []), ("n > -5,n<2", [])])
async def test_labels_are_compared_as_numbers(
    client: Client, namespace: str, before: str, selector: str, names: list[str]
) -> None:
    assert (await listed(client, namespace, labelSelector=selector))[1] == names
