"""Several control planes in a cluster: what each reads, and who writes."""

from __future__ import annotations

from sailcloth.api import core
from sailcloth.api.gateway_api import KubernetesGateway
from sailcloth.api.meta import Finding, Key, Object, ObjectMeta
from sailcloth.api.virtual_service import VirtualService
from sailcloth.controlplane import admission
from sailcloth.controlplane.revisions import Revisions
from sailcloth.injector.webhook_config import configuration

NAMED, PLAIN = Key("VirtualService", "a", "named"), Key("VirtualService", "a", "plain")
GATEWAY = Key("KubernetesGateway", "a", "edge")


class World:
    """A control plane's revision, and what it has passed on."""

    def __init__(self, revision: str) -> None:
        self.objects: dict[Key, Object | Finding] = {}
        self.changes = 0
        self.revisions = Revisions("istio-system", revision, self._deliver)
        self.revisions.on_change = self._changed

    def _deliver(self, key: Key, obj: Object | Finding | None) -> None:
        if obj is None:
            self.objects.pop(key, None)
        else:
            self.objects[key] = obj

    def _changed(self) -> None:
        self.changes += 1

    def rule(self, key: Key, revision: str = "") -> None:
        self.revisions.change(key, VirtualService(metadata=meta(key, **{"istio.io/rev": revision} if revision else {})))

    def injector(self, revision: str, tag: str = "", gone: bool = False) -> None:
        key = Key("MutatingWebhookConfiguration", "", f"of-{tag or revision}")
        labels = {"app": "sidecar-injector", "istio.io/rev": revision, **({"istio.io/tag": tag} if tag else {})}
        self.revisions.change(key, None if gone else core.MutatingWebhookConfiguration(metadata=meta(key, **labels)))


def meta(key: Key, **labels: str) -> ObjectMeta:
    return ObjectMeta(name=key.name, namespace=key.namespace, labels=labels)


def test_an_object_that_names_a_revision_concerns_that_one_only() -> None:
    old, new = World(""), World("new")
    for world in (old, new):
        world.rule(NAMED, "new")
        world.rule(PLAIN)
    assert set(old.objects) == {PLAIN}
    assert set(new.objects) == {NAMED, PLAIN}
    for world in (old, new):
        world.rule(NAMED, "default")
        world.rule(PLAIN, "other")
    assert (set(old.objects), set(new.objects)) == ({NAMED}, set())
    for world in (old, new):
        world.revisions.change(NAMED, None)
        world.rule(PLAIN)
    assert set(old.objects) == set(new.objects) == {PLAIN}


def test_a_tag_is_another_name() -> None:
    world = World("new")
    world.rule(NAMED, "prod")
    assert not world.objects
    world.injector("new", "prod")
    assert set(world.objects) == {NAMED}
    world.injector("newer", "prod")
    assert not world.objects
    world.injector("new", "prod")
    world.injector("new", "prod", gone=True)
    assert not world.objects
    assert world.changes == 4


def test_one_revision_writes_what_names_none() -> None:
    worlds = [World(""), World("new"), World("newer")]

    def writers(key: Key) -> list[str]:
        return [w.revisions.own for w in worlds if w.revisions.writes(key)]

    for world in worlds:
        world.rule(NAMED, "new")
        for revision in ("default", "new", "newer"):
            world.injector(revision)
    assert (writers(PLAIN), writers(NAMED)) == (["default"], ["new"])
    for world in worlds:
        world.injector("newer", "default")
        world.rule(NAMED, "default")
    assert (writers(PLAIN), writers(NAMED)) == (["newer"], ["newer"])
    for world in worlds:
        world.injector("newer", "default", gone=True)
        world.injector("default", gone=True)
    worlds = worlds[1:]
    assert writers(PLAIN) == ["new"]


def test_a_gateway_gets_its_deployment_from_the_revision_of_its_namespace() -> None:
    worlds = [World(""), World("new")]

    def deployers() -> list[str]:
        return [w.revisions.own for w in worlds if w.revisions.deploys(GATEWAY)]

    def gateway(**labels: str) -> None:
        for world in worlds:
            world.revisions.change(GATEWAY, KubernetesGateway(metadata=meta(GATEWAY, **labels)))

    def namespace(**labels: str) -> None:
        for world in worlds:
            world.revisions.change(
                Key("Namespace", "", "a"), core.Namespace(metadata=ObjectMeta(name="a", labels=labels))
            )

    for world in worlds:
        world.injector("default")
        world.injector("new")
    gateway()
    assert deployers() == ["default"]
    namespace(**{"istio.io/rev": "new"})
    assert deployers() == ["new"]
    assert [w.revisions.own for w in worlds if w.revisions.writes(GATEWAY)] == ["default"]
    namespace(**{"istio.io/rev": "new", "istio-injection": "enabled"})
    assert deployers() == ["default"]
    gateway(**{"istio.io/rev": "new"})
    assert deployers() == ["new"]


def test_each_revision_has_options_of_its_own() -> None:
    for revision, own in (("", "istio"), ("new", "istio-new")):
        world = World(revision)
        for name in ("istio", "istio-new", "other"):
            options = core.ConfigMap(data={"mesh": name})
            world.revisions.change(Key("ConfigMap", "istio-system", name), options)
        read = world.objects[Key("ConfigMap", "istio-system", "istio")]
        assert isinstance(read, core.ConfigMap)
        assert read.data["mesh"] == own
        assert Key("ConfigMap", "istio-system", "other") in world.objects


def test_webhooks_call_the_service_of_their_revision() -> None:
    world = World("new")
    injector = configuration(b"ca", "new")
    assert injector["metadata"]["name"] == "istio-sidecar-injector-new"
    assert [w["name"].split(".sidecar")[0] for w in injector["webhooks"]] == ["rev.namespace", "rev.object"]
    assert {w["clientConfig"]["service"]["name"] for w in injector["webhooks"]} == {"istiod-new"}

    def chosen() -> list[dict[str, object]]:
        validator = admission.configuration(b"ca", world.revisions, "new")
        assert validator["metadata"]["name"] == "istio-validator-new-istio-system"
        return [w["objectSelector"]["matchExpressions"][0] for w in validator["webhooks"]]

    world.injector("default")
    assert chosen() == [{"key": "istio.io/rev", "operator": "In", "values": ["new"]}]
    world.injector("new", "default")
    assert chosen() == [
        {"key": "istio.io/rev", "operator": "In", "values": ["default", "new"]},
        {"key": "istio.io/rev", "operator": "NotIn", "values": ["default", "new"]},
    ]


def test_where_the_tag_default_stands_for_another_revision_nothing_is_injected_twice() -> None:
    for hook in configuration(b"ca", active=False)["webhooks"]:
        assert hook["namespaceSelector"] == {"matchLabels": {"istio.io/deactivated": "never-match"}}
