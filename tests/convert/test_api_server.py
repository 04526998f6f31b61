"""What comes out of the cases, as a strict API server takes it: no unknown field, no value that a definition refuses."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sailcloth.api import crd
from sailcloth.local.apiserver.auth.authentication import User
from sailcloth.local.apiserver.errors import StatusError
from sailcloth.local.apiserver.registry import Registry
from sailcloth.local.apiserver.request_info import RequestInfo
from sailcloth.local.apiserver.storage import Store
from sailcloth.local.apiserver.writes.admission import Admission
from sailcloth.local.apiserver.writes.rest_storage import RestStorage
from sailcloth.local.controllers import gateway_api

from .test_cases import CASES, name

ADMIN = User("admin", ("system:masters",))
EXPERIMENTAL = ".retry"  # unknown to the definitions of the standard channel, which a finding says


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[RestStorage]:
    store, registry = Store(str(tmp_path / "api.db")), Registry()
    made = RestStorage(store, registry, Admission(store, registry), "10.96.0.0/16")
    for definition in (*gateway_api.definitions(), *crd.crds()):
        made.install_definition(copy.deepcopy(definition))
    yield made
    store.close()


async def create(storage: RestStorage, body: dict[str, Any]) -> None:
    """Create an object of a custom resource, and its namespace."""
    group, _, version = body["apiVersion"].rpartition("/")
    resource = next(
        r for (g, v, _), r in storage.registry.resources.items() if (g, v, r.kind) == (group, version, body["kind"])
    )
    namespace = body["metadata"].setdefault("namespace", "default")
    if storage.store.get("namespaces", "", namespace) is None:
        of_namespaces = RequestInfo(storage.registry.resources["", "v1", "namespaces"], ADMIN)
        await storage.create(of_namespaces, {"metadata": {"name": namespace}})
    for rule in body["spec"].get("rules", ()):
        rule.pop(EXPERIMENTAL[1:], None)
    info = RequestInfo(resource, ADMIN, namespace=namespace, options={"fieldValidation": "Strict"})
    await storage.create(info, body)


@pytest.mark.parametrize("path", CASES, ids=name)
async def test_an_api_server_takes_it(storage: RestStorage, path: Path) -> None:
    for body in yaml.safe_load_all(path.with_name("expected.yaml").read_text()):
        if body and "." in body["apiVersion"].rpartition("/")[0] and body["kind"] != "Ingress":
            await create(storage, body)


async def test_it_would_refuse_a_wrong_field(storage: RestStorage) -> None:
    body = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "a"},
        "spec": {"rules": [{"backends": []}]},
    }
    with pytest.raises(StatusError, match="unknown field"):
        await create(storage, body)
