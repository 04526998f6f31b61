"""The mesh's CA against a real API server: from its Secrets, through a change of roots, and over a restart."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from cryptography import x509

from sailcloth.api import core
from sailcloth.api.meta import Key
from sailcloth.ca import revocation
from sailcloth.ca.authority import fingerprint
from sailcloth.ca.plugged_in import InvalidCa
from sailcloth.controlplane import certificates as module
from sailcloth.controlplane.certificates import (
    BUNDLE,
    BUNDLE_KEY,
    PLUGGED_IN,
    REVOKED,
    ROTATE,
    SELF_SIGNED,
    Certificates,
)
from sailcloth.controlplane.revisions import Revisions
from sailcloth.controlplane.root_bundles import RootBundles
from sailcloth.controlplane.webhooks import Webhooks
from sailcloth.injector import webhook_config
from sailcloth.kube import ApiError, Client
from sailcloth.kube.resources import CONFIGMAPS, MUTATING_WEBHOOKS, NAMESPACES, SECRETS

from ..apiserver.cluster import Server, until
from ..authorities import DAY, Authority

NAMESPACE = "istio-system"
LIFETIME = dt.timedelta(hours=1)
Object = dict[str, Any]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    one = Server(tmp_path_factory.mktemp("certificates"))
    one.start()
    yield one
    one.close()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    async with asyncio.timeout(60), server.client() as one:
        with contextlib.suppress(ApiError):
            await one.create(NAMESPACES, {"metadata": {"name": NAMESPACE}})
        yield one
        for resource, name in ((SECRETS, PLUGGED_IN), (SECRETS, SELF_SIGNED), (CONFIGMAPS, BUNDLE)):
            with contextlib.suppress(ApiError):
                await one.delete(resource, name, NAMESPACE)


class Proxies:
    """Those that do not trust a root yet, by its fingerprint."""

    def __init__(self) -> None:
        self.untrusting: list[str] = []
        self.asked: set[str] = set()

    def __call__(self, root: str) -> list[str]:
        self.asked.add(root)
        return self.untrusting


@contextlib.asynccontextmanager
async def running(client: Client, proxies: Proxies, lifetime: dt.timedelta = LIFETIME) -> AsyncIterator[Certificates]:
    certificates = Certificates(client, NAMESPACE, lifetime, proxies)
    await certificates.start()
    await certificates.reconcile()
    task = asyncio.create_task(certificates.run())
    try:
        yield certificates
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def bundle(client: Client) -> list[x509.Certificate]:
    held = await client.get(CONFIGMAPS, BUNDLE, NAMESPACE)
    return x509.load_pem_x509_certificates(held["data"][BUNDLE_KEY].encode())


async def bundle_becomes(client: Client, expected: set[x509.Certificate]) -> None:
    async with asyncio.timeout(20):
        while set(await bundle(client)) != expected:  # noqa: ASYNC110 - a condition of the server's
            await asyncio.sleep(0.02)


async def plug_in(client: Client, files: dict[str, bytes]) -> None:
    data = {k: base64.b64encode(v).decode() for k, v in files.items()}
    secret = {"metadata": {"name": PLUGGED_IN, "namespace": NAMESPACE}, "data": data}
    try:
        await client.create(SECRETS, secret)
    except ApiError as error:
        assert error.reason == "AlreadyExists"  # noqa: PT017
        await client.patch(SECRETS, PLUGGED_IN, NAMESPACE, [{"op": "replace", "path": "/data", "value": data}], "json")


async def ask_for_a_new_root(client: Client) -> None:
    await client.patch(SECRETS, SELF_SIGNED, NAMESPACE, {"metadata": {"annotations": {ROTATE: "now"}}})


async def eventually(what: str, check: Callable[[], bool]) -> None:
    await until(what, check, 20)


async def test_a_new_root_signs_when_all_proxies_trust_it_and_the_old_one_goes_with_its_last_certificate(
    client: Client,
) -> None:
    proxies = Proxies()
    async with running(client, proxies) as ca:
        old = ca.authority
        assert old is not None
        ca.issued(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=3))
        proxies.untrusting = ["reviews.default"]
        await ask_for_a_new_root(client)
        await eventually("a candidate", lambda: ca.trust.candidate is not None)
        await eventually("the proxies to be asked", lambda: ca.status()["waitingFor"] == ["reviews.default"])
        candidate = ca.trust.candidate
        assert candidate is not None
        assert proxies.asked == {fingerprint(candidate.root)}
        assert set(await bundle(client)) == {old.root, candidate.root}
        assert ca.authority == old, "one proxy does not trust the next root"
        proxies.untrusting = []
        await eventually("the next root to sign", lambda: ca.authority == candidate)
        assert [r["root"] for r in ca.status()["retired"]] == [fingerprint(old.root)]
        await eventually("the old root to go", lambda: not ca.trust.retired)
        await bundle_becomes(client, {candidate.root})
    secret = await client.get(SECRETS, SELF_SIGNED, NAMESPACE)
    assert set(secret["data"]) == {"ca-cert.pem", "ca-key.pem"}
    assert base64.b64decode(secret["data"]["ca-cert.pem"]) == candidate.certificate_pem
    assert ROTATE not in secret["metadata"].get("annotations", {})


async def test_proxies_that_say_nothing_delay_a_change_for_a_while_only(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_PATIENCE_S", 0.5)
    proxies = Proxies()
    proxies.untrusting = ["old-agent.default"]
    async with running(client, proxies) as ca:
        old = ca.authority
        await ask_for_a_new_root(client)
        await eventually("the next root to sign", lambda: ca.authority != old)
    assert "1 proxies did not say" in caplog.text
    assert "old-agent.default" in caplog.text


async def test_a_change_survives_restarts_of_the_process(client: Client) -> None:
    proxies = Proxies()
    proxies.untrusting = ["reviews.default"]
    async with running(client, proxies) as ca:
        old = ca.authority
        ca.issued(dt.datetime.now(dt.UTC) + LIFETIME)
        await ask_for_a_new_root(client)
        await eventually("a candidate", lambda: ca.trust.candidate is not None)
        await eventually("the bundle", lambda: bool(proxies.asked))
        candidate = ca.trust.candidate
    async with running(client, proxies) as ca:
        assert (ca.authority, ca.trust.candidate) == (old, candidate)
        proxies.untrusting = []
        await eventually("the next root to sign", lambda: ca.authority == candidate)
    async with running(client, proxies) as ca:
        assert ca.authority == candidate
        assert old is not None
        [retired] = ca.trust.retired
        assert retired.roots == (old.root,)
        assert retired.until > dt.datetime.now(dt.UTC) + LIFETIME / 2


async def test_a_ca_is_plugged_in_and_replaced_while_running(client: Client) -> None:
    proxies, root = Proxies(), Authority("root")
    async with running(client, proxies) as ca:
        own = ca.authority
        ca.issued(dt.datetime.now(dt.UTC) + LIFETIME)
        first, second = Authority("first", root), Authority("second", root)
        await plug_in(client, first.secret())
        await eventually(
            "the first", lambda: ca.authority is not None and ca.authority.certificate == first.certificate
        )
        assert own is not None
        assert set(await bundle(client)) == {own.root, root.certificate}
        asked = set(proxies.asked)
        await plug_in(client, second.secret(revoked=second.revoke(1)))
        await eventually(
            "the second", lambda: ca.authority is not None and ca.authority.certificate == second.certificate
        )
        assert proxies.asked == asked, "its root is trusted already"
        issuers = [x509.load_pem_x509_crl(each).issuer for each in revocation.split(ca.revoked)]
        assert issuers == [second.subject, own.certificate.subject, first.subject], "none of them is shut out"
        assert ca.status()["issuer"]["secret"] == PLUGGED_IN
        await plug_in(client, {**second.secret(), "ca-key.pem": first.key_pem})
        await eventually("the problem", lambda: "does not belong" in ca.status()["problem"])
        assert ca.authority is not None
        assert ca.authority.certificate == second.certificate, "the last good one goes on"
        with pytest.raises(InvalidCa, match="does not belong"):
            await Certificates(client, NAMESPACE, LIFETIME, proxies).start()
        await client.delete(SECRETS, PLUGGED_IN, NAMESPACE)
        await eventually("our own to come back", lambda: ca.authority == own)


async def test_a_process_that_has_only_the_next_key_signs_when_proxies_trust_its_root(client: Client) -> None:
    proxies, root = Proxies(), Authority("root")
    async with running(client, proxies) as ca:
        own = ca.authority
        ca.issued(dt.datetime.now(dt.UTC) + LIFETIME)
        await eventually("the record", lambda: ca._recorded[1].get(fingerprint(own.root), 0) > 0 if own else False)
    await plug_in(client, Authority("first", root).secret())
    proxies.untrusting = ["reviews.default"]
    async with running(client, proxies) as ca:
        assert ca.authority is None, "nobody would accept its certificates"
        assert ca.server_authority.root == root.certificate
        assert own is not None
        assert set(await bundle(client)) == {own.root, root.certificate}
        proxies.untrusting = []
        await eventually("it to sign", lambda: ca.authority is not None)


async def test_roots_of_other_meshes_are_trusted_as_long_as_the_options_name_them(client: Client) -> None:
    other = Authority("other mesh")
    async with running(client, Proxies()) as ca:
        own = ca.trust.roots
        for certificates, expected in ([other.pem.decode()], {*own, other.certificate}), ([], set(own)):
            ca.trust_also(certificates)
            await bundle_becomes(client, expected)
        assert not ca.trust.retired


async def test_the_next_root_is_made_before_the_present_one_ends(client: Client) -> None:
    ending = Authority("ending", valid=(-dt.timedelta(days=9), dt.timedelta(days=1)))
    data = {"ca-cert.pem": ending.pem, "ca-key.pem": ending.key_pem}
    secret = {"type": "istio.io/ca-root", "data": {k: base64.b64encode(v).decode() for k, v in data.items()}}
    await client.create(SECRETS, {"metadata": {"name": SELF_SIGNED, "namespace": NAMESPACE}, **secret})
    async with running(client, Proxies()) as ca:
        await eventually("the next root", lambda: ca.authority is not None and ca.authority.root != ending.certificate)
        assert ca.metrics()["root_cert_expiry_seconds"] > 365 * 86_400


async def test_webhooks_of_tags_get_the_roots(client: Client) -> None:
    tag = webhook_config.tag(webhook_config.configuration(b"old")["webhooks"][0]["clientConfig"], "prod", "default")
    await client.create(MUTATING_WEBHOOKS, tag)
    try:
        revisions = Revisions(NAMESPACE, "", lambda key, obj: None)
        await Webhooks(client, NAMESPACE, "", revisions, lambda: b"new").write()
        webhooks = (await client.get(MUTATING_WEBHOOKS, "istio-revision-tag-prod"))["webhooks"]
        assert {base64.b64decode(w["clientConfig"]["caBundle"]) for w in webhooks} == {b"new"}
    finally:
        await client.delete(MUTATING_WEBHOOKS, "istio-revision-tag-prod")


async def test_every_namespace_has_the_roots_and_the_lists_whatever_others_do(client: Client) -> None:
    root = Authority("root")
    async with running(client, Proxies()) as ca:
        bundles = RootBundles(client, NAMESPACE, ca)
        ca.on_bundle = bundles.publish
        task = asyncio.create_task(bundles.run())
        for name in ("default", NAMESPACE):
            bundles.change(Key("Namespace", "", name), core.Namespace())
        await bundles.publish()

        async def held(name: str, namespace: str = "default") -> dict[str, str] | None:
            try:
                data: dict[str, str] = (await client.get(CONFIGMAPS, name, namespace))["data"]
            except ApiError:
                return None
            return data

        async def becomes(name: str, expected: dict[str, str] | None, namespace: str = "default") -> None:
            async with asyncio.timeout(20):
                while await held(name, namespace) != expected:  # noqa: ASYNC110 - a condition of the server's
                    await asyncio.sleep(0.02)

        await becomes(BUNDLE, {BUNDLE_KEY: ca.bundle.decode()})
        for namespace in ("default", NAMESPACE):
            await client.delete(CONFIGMAPS, BUNDLE, namespace)
            bundles.change(Key("ConfigMap", namespace, BUNDLE), None)
            await becomes(BUNDLE, {BUNDLE_KEY: ca.bundle.decode()}, namespace)
        revoked = root.revoke(7)
        await plug_in(client, root.secret(revoked=revoked))
        await eventually("the root to sign", lambda: ca.authority is not None and ca.authority.root == root.certificate)
        lists = ca.revoked.decode()
        assert lists.startswith(revoked.decode())
        await becomes(REVOKED, {"ca-crl.pem": lists})
        bundles.change(Key("ConfigMap", "default", REVOKED), core.ConfigMap(data={"ca-crl.pem": lists}))
        await plug_in(client, root.secret())
        await becomes(REVOKED, None)
        task.cancel()
        await client.delete(CONFIGMAPS, BUNDLE, "default")


async def test_a_ca_that_ends_soon_is_warned_of(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    soon = Authority("ours", Authority("root"), valid=(-DAY, 10 * DAY))
    await plug_in(client, soon.secret())
    async with running(client, Proxies()) as certificates:
        other = Authority("theirs", valid=(-DAY, 5 * DAY)).pem.decode()
        certificates.trust_also([other])
        texts = certificates.status()["ending"]
        await certificates.reconcile()
        await certificates.reconcile()
    assert [t.split(" ends at")[0].split("of ")[-1] for t in texts] == [
        "MeshConfig caCertificates",
        "Secret istio-system/cacerts",
        "Secret istio-system/cacerts",
    ]
    assert caplog.text.count("the CA's certificate of Secret istio-system/cacerts ends at") == 1, "once a day"
