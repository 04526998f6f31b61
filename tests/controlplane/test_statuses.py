"""What objects' statuses say, and when: the writer, the verdicts and the answers of proxies together, in virtual time."""

from __future__ import annotations

import pytest

from sailcloth.api.meta import Finding, Key
from sailcloth.kube import ApiError
from sailcloth.testing.world import World
from sailcloth.xds.types import CLUSTER, LISTENER, ROUTES

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: default}
spec: {clusterIP: 10.96.0.10, selector: {app: reviews}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""
SUBSETS = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: default, uid: d1, generation: 1}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}]}
"""
CLIENT = {"id": "client-1.default", "labels": {"app": "client"}}
REVIEWS = Key("VirtualService", "default", "reviews")
RULE = Key("DestinationRule", "default", "reviews")


def rule(subset: str = "", uid: str = "u1", generation: int = 1, name: str = "reviews", created: str = "") -> str:
    destination = f"{{host: reviews{', subset: ' + subset if subset else ''}}}"
    stamp = f", creationTimestamp: '{created}'" if created else ""
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: default, uid: {uid}, generation: {generation}{stamp}}}
spec: {{hosts: [reviews], http: [{{route: [{{destination: {destination}}}]}}]}}
"""


async def test_a_rule_waits_for_its_subset_and_says_so() -> None:
    async with World() as world:
        proxy = await world.connect(CLIENT)
        await world.apply(SERVICE, rule("v1"))
        accepted = world.condition(REVIEWS, "Accepted")
        assert (accepted["status"], accepted["reason"]) == ("False", "SubsetNotFound")
        assert "subset v1" in accepted["message"]
        assert b"|v1|" not in b"".join(proxy.resources(ROUTES).values())
        await world.apply(SUBSETS)
        assert world.condition(REVIEWS, "Accepted")["status"] == "True"
        assert world.condition(REVIEWS, "Programmed")["message"] == "1/1 proxies"
        assert "outbound|80|v1|reviews.default.svc.cluster.local" in proxy.resources(CLUSTER)
        assert b"|v1|" in b"".join(proxy.resources(ROUTES).values())


async def test_a_subset_in_use_stays_and_its_rule_says_who_uses_it() -> None:
    async with World() as world:
        proxy = await world.connect(CLIENT)
        await world.apply(SERVICE, SUBSETS, rule("v1"))
        await world.apply(SUBSETS.replace("generation: 1", "generation: 2").replace("name: v1", "name: v2"))
        accepted = world.condition(RULE, "Accepted")
        assert (accepted["reason"], accepted["observedGeneration"]) == ("SubsetInUse", 2)
        assert "VirtualService default/reviews" in accepted["message"]
        assert "outbound|80|v1|reviews.default.svc.cluster.local" in proxy.resources(CLUSTER)
        await world.apply(rule("", generation=2))
        assert world.condition(RULE, "Accepted")["status"] == "True"
        await world.settle(30)
        assert "outbound|80|v1|reviews.default.svc.cluster.local" not in proxy.resources(CLUSTER)


async def test_proxies_that_have_not_answered_are_counted_as_pending() -> None:
    async with World() as world:
        first, second = await world.connect(CLIENT), await world.connect({**CLIENT, "id": "client-2.default"})
        await world.apply(SERVICE)
        second.acknowledges = False
        await world.apply(SUBSETS, rule("v1"))
        programmed = world.condition(REVIEWS, "Programmed")
        assert (programmed["status"], programmed["reason"], programmed["message"]) == (
            "False",
            "Pending",
            "1/2 proxies",
        )
        second.acknowledges = True
        await world.settle(10)
        assert world.condition(REVIEWS, "Programmed")["message"] == "2/2 proxies"
        await world.disconnect(first)
        assert world.condition(REVIEWS, "Programmed")["message"] == "1/1 proxies"


async def test_an_answer_that_comes_just_after_the_proxies_were_looked_at_is_not_missed() -> None:
    """Proxies are looked at twenty times a second at most; who was found waiting is looked at again after a later answer."""
    async with World() as world:
        await world.connect(CLIENT)
        second = await world.connect({**CLIENT, "id": "client-2.default"})
        await world.apply(SERVICE)
        second.acknowledges = False
        await world.apply(SUBSETS, rule("v1"))
        assert world.condition(REVIEWS, "Programmed")["message"] == "1/2 proxies"
        await world.clock.advance(1)
        world.status.queue.add(RULE, after=0.01)
        world.status.queue.add(REVIEWS, after=0.03)
        await world.clock.advance(0.02)  # the proxies are looked at for the first of them
        second.acknowledges = True
        while second.exchange(world.clock.time()):
            pass
        await world.clock.advance(0.011)
        assert world.condition(REVIEWS, "Programmed")["message"] == "1/2 proxies"
        await world.clock.advance(0.06)
        assert world.condition(REVIEWS, "Programmed")["message"] == "2/2 proxies"


async def test_a_refusal_is_told_in_envoys_words_until_it_is_gone() -> None:
    async with World() as world:
        proxy = await world.connect(CLIENT)
        proxy.reject = lambda url, names: "no such filter" if url == LISTENER else ""
        await world.apply(SERVICE, rule())
        programmed = world.condition(REVIEWS, "Programmed")
        assert (programmed["reason"], programmed["message"]) == (
            "Refused",
            "0/1 proxies; client-1.default: no such filter",
        )
        proxy.reject = lambda url, names: ""
        await world.apply(SERVICE.replace("port: 80,", "port: 81,"))
        assert world.condition(REVIEWS, "Programmed")["reason"] == "Programmed"


async def test_an_object_that_loses_to_an_older_one_is_judged_when_the_other_changes() -> None:
    async with World() as world:
        await world.connect(CLIENT)
        await world.apply(SERVICE, rule(name="younger", uid="u2", created="2026-02-01T00:00:00Z"))
        younger = Key("VirtualService", "default", "younger")
        assert world.condition(younger, "Accepted")["reason"] == "Accepted"
        await world.apply(rule(created="2026-01-01T00:00:00Z"))
        accepted = world.condition(younger, "Accepted")
        assert accepted["reason"] == "Conflict"
        assert "default/reviews" in accepted["message"]
        await world.delete(REVIEWS)
        assert world.condition(younger, "Accepted")["reason"] == "Accepted"


async def test_what_a_rule_names_and_does_not_exist_is_told_until_it_does() -> None:
    gateway = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: default, uid: g1, generation: 1}
spec:
  selector: {istio: ingressgateway}
  servers:
    - port: {number: 443, name: https, protocol: HTTPS}
      hosts: ["*"]
      tls: {mode: SIMPLE, credentialName: cert}
"""
    secret = """
apiVersion: v1
kind: Secret
metadata: {name: cert, namespace: istio-system}
data: {tls.crt: LS0tLS1CRUdJTiBD, tls.key: LS0tLS1CRUdJTiBL}
"""
    key = Key("Gateway", "default", "edge")
    async with World() as world:
        await world.connect({"type": "router", "namespace": "istio-system", "labels": {"istio": "ingressgateway"}})
        await world.apply(SERVICE, rule().replace("hosts: [reviews]", "hosts: [reviews], gateways: [edge]"))
        assert "gateway default/edge does not exist" in world.condition(REVIEWS, "Programmed")["message"]
        await world.apply(gateway)
        assert world.condition(REVIEWS, "Programmed")["message"] == "1/1 proxies"
        assert "no Secret cert in istio-system" in world.condition(key, "Programmed")["message"]
        await world.apply(secret)
        assert world.condition(key, "Programmed")["message"] == "1/1 proxies"


async def test_what_could_not_be_read_or_is_wrong_leaves_the_version_before_in_effect() -> None:
    async with World() as world:
        proxy = await world.connect(CLIENT)
        await world.apply(SERVICE, SUBSETS, rule("v1"))
        before = dict(proxy.resources(ROUTES))
        wrong = rule("v1", generation=2).replace("http: [{", "http: [{redirect: {uri: /x}, ")
        await world.apply(wrong)
        accepted = world.condition(REVIEWS, "Accepted")
        assert (accepted["reason"], accepted["observedGeneration"]) == ("Invalid", 2)
        assert "http[0]" in accepted["message"]
        await world.invalid(Finding(code="X", severity="Error", resource=REVIEWS, path="spec.http", text="not a list"))
        assert world.condition(REVIEWS, "Accepted")["message"] == "spec.http: not a list"
        assert proxy.resources(ROUTES) == before


@pytest.mark.parametrize("error", [ApiError(500, "InternalError", "later"), OSError("connection reset")])
async def test_a_status_that_could_not_be_written_is_written_later(error: Exception) -> None:
    async with World() as world:
        failures = 3

        def fail(key: Key) -> None:
            nonlocal failures
            if failures:
                failures -= 1
                raise error

        world.fail = fail
        await world.apply(SERVICE, SUBSETS)
        assert RULE not in world.statuses
        await world.settle(10)
        assert world.condition(RULE, "Accepted")["status"] == "True"


async def test_a_status_is_written_when_it_changes_and_not_else() -> None:
    async with World() as world:
        await world.connect(CLIENT)
        await world.apply(SERVICE, SUBSETS, rule("v1"))
        writes = world.writes
        await world.apply(SERVICE.replace("8080", "8081"))
        await world.settle(60)
        assert world.writes == writes


async def test_a_recreated_object_has_times_of_its_own() -> None:
    async with World() as world:
        await world.apply(SERVICE, SUBSETS)
        first = world.condition(RULE, "Accepted")["lastTransitionTime"]
        await world.settle(60)
        await world.apply(SUBSETS.replace("generation: 1", "generation: 2"))
        assert world.condition(RULE, "Accepted")["lastTransitionTime"] == first, "the status is what it was"
        await world.delete(RULE)
        await world.apply(SUBSETS.replace("uid: d1", "uid: d2"))
        assert world.condition(RULE, "Accepted")["lastTransitionTime"] > first


async def test_an_envoy_filter_says_what_each_patch_matched() -> None:
    filter_ = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: patches, namespace: default, uid: e1, generation: 1}
spec:
  configPatches:
    - applyTo: CLUSTER
      match: {context: SIDECAR_OUTBOUND, cluster: {service: reviews.default.svc.cluster.local}}
      patch: {operation: MERGE, value: {connect_timeout: 3s}}
    - applyTo: CLUSTER
      match: {context: SIDECAR_OUTBOUND, cluster: {service: nobody.example.com}}
      patch: {operation: MERGE, value: {connect_timeout: 3s}}
"""
    key = Key("EnvoyFilter", "default", "patches")
    async with World() as world:
        await world.connect(CLIENT)
        await world.apply(filter_)
        text = "configPatches[0] matched nothing; configPatches[1] matched nothing"
        assert world.condition(key, "Programmed")["message"].endswith(text)
        await world.apply(SERVICE)
        text = "configPatches[0] matched 1; configPatches[1] matched nothing"
        assert world.condition(key, "Programmed")["message"].endswith(text), (
            "counted anew although the filter is the same"
        )
        await world.apply(filter_.replace("connect_timeout: 3s", "connect_timeouts: 3s", 1))
        assert world.condition(key, "Accepted")["reason"] == "PatchInvalid"


async def test_policies_say_what_does_not_hold() -> None:
    policy = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: NAME, namespace: default, uid: NAME, generation: 1, creationTimestamp: '2026-01-0DAYT00:00:00Z'}
spec: {mtls: {mode: STRICT}}
"""
    limit = """
apiVersion: sailcloth.io/v1alpha1
kind: RateLimit
metadata: {name: fast, namespace: default, uid: r1, generation: 1}
spec: {http: [{limit: {requests: 1, per: 10ms}}]}
"""
    async with World() as world:
        await world.connect({**CLIENT, "labels": {"app": "reviews"}})
        for name, day in (("older", "1"), ("younger", "2")):
            await world.apply(policy.replace("NAME", name).replace("DAY", day))
        assert world.condition(Key("PeerAuthentication", "default", "older"), "Programmed")["message"] == "1/1 proxies"
        younger = Key("PeerAuthentication", "default", "younger")
        assert world.condition(younger, "Accepted")["reason"] == "Conflict"
        assert world.condition(younger, "Programmed")["reason"] == "NotNeeded"
        await world.apply(limit)
        message = world.condition(Key("RateLimit", "default", "fast"), "Programmed")["message"]
        assert message.startswith("1/1 proxies; http[0].limit.per: 10ms is counted as 50ms")


async def test_findings_of_the_analysis_are_in_the_status_while_they_hold() -> None:
    async with World() as world:
        found: list[tuple[Key, str, list[str]]] = []
        world.status.on_findings = lambda _, key, uid, findings: found.append((key, uid, [f.code for f in findings]))
        await world.apply(rule())
        condition = world.condition(REVIEWS, "PassedAnalysis")
        assert (condition["status"], condition["reason"]) == ("False", "ReferencedResourceNotFound")
        assert condition["message"].startswith("IST0101 spec.http[0].route[0].destination.host: ")
        (message,) = world.statuses[REVIEWS]["validationMessages"]
        assert message["type"] == {"code": "IST0101", "name": "ReferencedResourceNotFound"}
        assert (message["level"], message["path"]) == ("ERROR", "spec.http[0].route[0].destination.host")
        await world.apply(SERVICE)
        assert world.condition(REVIEWS, "PassedAnalysis")["status"] == "True"
        assert world.statuses[REVIEWS]["validationMessages"] == []
        assert found == [(REVIEWS, "u1", ["IST0101"]), (REVIEWS, "u1", [])]


async def test_a_rule_that_is_held_back_is_analyzed_as_it_was_written() -> None:
    async with World() as world:
        await world.apply(SERVICE, rule("v1"))
        assert world.condition(REVIEWS, "Accepted")["reason"] == "SubsetNotFound"
        assert "v1" in world.condition(REVIEWS, "PassedAnalysis")["message"]
        await world.apply(SUBSETS)
        assert world.condition(REVIEWS, "PassedAnalysis")["status"] == "True"


async def test_an_invalid_object_has_not_passed() -> None:
    async with World() as world:
        await world.apply(SERVICE, rule())
        await world.invalid(Finding(code="X", severity="Error", resource=REVIEWS, path="spec.http", text="is wrong"))
        assert world.condition(REVIEWS, "PassedAnalysis")["message"] == "spec.http: is wrong"


async def test_an_unrelated_change_writes_no_status() -> None:
    async with World() as world:
        await world.apply(SERVICE, rule())
        writes = world.writes
        await world.apply(SERVICE.replace("name: reviews", "name: ratings").replace("10.96.0.10", "10.96.0.11"))
        assert world.writes == writes
