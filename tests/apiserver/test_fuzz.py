"""Every built-in kind with wrong types, nulls and absent fields: a refusal or an object, never a failure of the server.

In the process itself, so that thousands of objects are tried: what would be a 500 is an exception here.
"""

from __future__ import annotations

import copy
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from sailcloth.local.apiserver.auth.authentication import User
from sailcloth.local.apiserver.errors import StatusError
from sailcloth.local.apiserver.http import protobuf
from sailcloth.local.apiserver.kinds import KINDS
from sailcloth.local.apiserver.registry import ApiResource, Registry
from sailcloth.local.apiserver.request_info import Body, RequestInfo
from sailcloth.local.apiserver.storage import Store
from sailcloth.local.apiserver.writes.admission import Admission
from sailcloth.local.apiserver.writes.rest_storage import RestStorage

Object = dict[str, Any]
TRIES = 200
ADMIN = User("admin", ("system:masters",))
WRONG: tuple[Any, ...] = (None, [], {}, "", "x", 0, -1, 1.5, True, [None], {"a": None}, [[]], [{}], ["x"], {"x": "y"})


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[RestStorage]:
    store, registry = Store(str(tmp_path / "api.db")), Registry()
    made = RestStorage(store, registry, Admission(store, registry), "10.96.0.0/16")
    info = RequestInfo(made.registry.resources["", "v1", "namespaces"], ADMIN)
    await made.create(info, {"metadata": {"name": "n"}})
    yield made
    store.close()


def example(resource: ApiResource, node: Any, rng: random.Random, depth: int = 0) -> Any:
    """A value of a schema's types, with some of its fields."""
    found = resource.schemas.resolve(node) or {}
    kind = found.get("type")
    if kind == "object" or "properties" in found:
        out = {}
        for name, inner in (found.get("properties") or {}).items():
            if name in ("status", "apiVersion", "kind", "managedFields"):
                continue
            if name in (found.get("required") or ()) or (depth < 6 and rng.random() < 0.35):
                out[name] = example(resource, inner, rng, depth + 1)
        if isinstance(found.get("additionalProperties"), dict):
            out["k"] = example(resource, found["additionalProperties"], rng, depth + 1)
        return out
    if kind == "array":
        return [example(resource, found.get("items"), rng, depth + 1)]
    values: dict[str, Any] = {"integer": rng.choice([0, 1, 80]), "number": 1.5, "boolean": rng.random() < 0.5}
    return values.get(str(kind), rng.choice(["x", "a-b", "1", ""]))


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield (*path, key)
        yield from places(inner, (*path, key))


def spoiled(obj: Object, rng: random.Random) -> Object:
    """The object with a few places made wrong."""
    out = copy.deepcopy(obj)
    for _ in range(rng.choice([1, 1, 2, 3])):
        path = rng.choice(list(places(out)))
        holder: Any = out
        for step in path[:-1]:
            holder = holder[step]
        if rng.random() < 0.2 and isinstance(holder, dict):
            del holder[path[-1]]
        else:
            holder[path[-1]] = copy.deepcopy(rng.choice(WRONG))
        if not out:
            break
    return out


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: f"{k.plural}-{k.group}-{k.version}")
async def test_no_object_makes_the_server_fail(storage: RestStorage, kind: Any) -> None:
    rng = random.Random(kind.kind)
    resource = storage.registry.resources[kind.group, kind.version, kind.plural]
    namespace = "n" if kind.namespaced else ""
    accepted: list[str] = []
    for number in range(TRIES):
        obj = example(resource, resource.node, rng)
        obj["metadata"] = (
            {"name": f"x{number}", **(obj.get("metadata") or {})} if rng.random() < 0.3 else {"name": f"x{number}"}
        )
        obj["metadata"].pop("namespace", None)
        if rng.random() < 0.8:
            obj = spoiled(obj, rng)
        what = copy.deepcopy(obj)
        try:
            made, _ = await storage.create(RequestInfo(resource, ADMIN, namespace, field_manager="m"), obj)
            accepted.append(made["metadata"]["name"])
            [cell(resource.from_storage(made)) for _, _, _, cell in resource.columns]
            protobuf.encode_item(resource.from_storage(made))
        except StatusError as error:
            if error.code >= 500:
                raise AssertionError(f"{kind.kind} {what}") from error
        except Exception as error:
            raise AssertionError(f"{kind.kind} {what}") from error
    for name in accepted:
        live = storage.store.get(resource.group_resource, namespace, name)
        if live is None:
            continue
        change = spoiled(
            {k: v for k, v in resource.from_storage(live).items() if k != "metadata"}
            | {"metadata": {"labels": {"a": "b"}}},
            rng,
        )
        change.pop("apiVersion", None), change.pop("kind", None)
        info = RequestInfo(resource, ADMIN, namespace, name, field_manager="m")
        try:
            await storage.update(
                info, lambda o, change=change: {**o, **{k: v for k, v in change.items() if k != "metadata"}}
            )
        except StatusError as error:
            if error.code >= 500:
                raise AssertionError(f"{kind.kind} {change}") from error
        except Exception as error:
            raise AssertionError(f"{kind.kind} {change}") from error


def a_patch(resource: ApiResource, live: Object, rng: random.Random) -> tuple[Body, dict[str, str]]:
    """(a patch of any sort that makes one place of the object wrong, its options)."""
    body = copy.deepcopy({k: v for k, v in live.items() if k not in ("metadata", "apiVersion", "kind")})
    path = rng.choice(list(places(body)) or [("data",)])
    value = copy.deepcopy(rng.choice(WRONG))
    how = rng.choice(["json-patch+json", "merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml"])
    if how == "json-patch+json":
        pointer = "/" + "/".join(str(step).replace("~", "~0").replace("/", "~1") for step in path)
        operation = {"op": rng.choice(["add", "replace", "test", "remove"]), "path": pointer, "value": value}
        return Body([operation], f"application/{how}"), {}
    holder: Any = body
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    if how == "apply-patch+yaml":
        head = {"apiVersion": resource.group_version, "kind": resource.kind}
        body = {**head, "metadata": {"name": live["metadata"]["name"]}, **body}
        return Body(body, f"application/{how}"), {"fieldManager": "m", "force": "true"}
    return Body(body, f"application/{how}"), {}


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: f"{k.plural}-{k.group}-{k.version}")
async def test_no_patch_makes_the_server_fail(storage: RestStorage, kind: Any) -> None:
    """Of an object or its status; and what comes of it has a form in protobuf and in tables."""
    rng = random.Random(kind.plural)
    resource = storage.registry.resources[kind.group, kind.version, kind.plural]
    namespace = "n" if kind.namespaced else ""
    for number in range(TRIES // 4):
        obj = {**example(resource, resource.node, rng), "metadata": {"name": f"x{number}"}}
        try:
            live, _ = await storage.create(RequestInfo(resource, ADMIN, namespace, field_manager="m"), obj)
        except StatusError:
            continue
        for _ in range(4):
            body, options = a_patch(resource, resource.from_storage(live), rng)
            what = copy.deepcopy(body)
            sub = "status" if resource.has_status_path and rng.random() < 0.3 else ""
            info = RequestInfo(resource, ADMIN, namespace, live["metadata"]["name"], sub, "m", options)
            try:
                live, *_ = await storage.patch(info, body)
                shown = resource.from_storage(live)
                [cell(shown) for _, _, _, cell in resource.columns]
                protobuf.encode_item(shown)
            except StatusError as error:
                # Kubernetes answers 500 to an applied field that the schema does not have.
                if error.code >= 500 and "failed to create typed patch object" not in error.message:
                    raise AssertionError(f"{kind.kind} {sub} {what}") from error
            except Exception as error:
                raise AssertionError(f"{kind.kind} {sub} {what}") from error
