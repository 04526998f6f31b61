"""Load balancing by locality: which endpoints a caller prefers, and in which shares. Source: istio.md 2.17.

`distribute` gives explicit shares; `failover` and `failoverPriority` need outlier detection, because without it nobody would learn
that the near endpoints have failed. Localities are `region/zone/subzone`, with `*` as a pattern's last part.
"""

from __future__ import annotations

from dataclasses import dataclass

from sailcloth.api.destination_rule import LocalityLbSetting, TrafficPolicy
from sailcloth.mesh.model import Endpoint

from .proxy import View

_TOPOLOGY = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone")


@dataclass(frozen=True)
class LocalityPlan:
    """How a caller at a place prefers endpoints. Exactly one of shares and labels is given, or neither: by distance."""

    origin: str
    shares: tuple[tuple[str, int], ...] = ()  # locality pattern → weight
    regions: tuple[tuple[str, str], ...] = ()  # region → region to fail over to
    labels: tuple[tuple[str, str], ...] = ()  # labels in order of importance, with the caller's values


@dataclass(frozen=True)
class Group:
    """Endpoints of one locality and priority, by their places in the list that was given, and their common weight."""

    locality: str
    priority: int
    weight: int
    members: tuple[int, ...]


def plan(view: View, policy: TrafficPolicy, mesh: LocalityLbSetting | None = None) -> LocalityPlan | None:
    """The preferences of a view for a cluster with a policy; None if it has none. `mesh`: the setting where the policy has none."""
    balancer = policy.load_balancer
    own = balancer.locality_lb_setting if balancer else None
    setting = own if own is not None else mesh
    if setting is not None and setting.enabled is False:
        return None
    for entry in setting.distribute if setting else ():
        if view.locality and covers(entry.from_, view.locality):
            return LocalityPlan(view.locality, shares=tuple(sorted(entry.to.items())))
    if policy.outlier_detection is None:
        return None
    if setting is not None and setting.failover_priority:
        have = {**dict(view.labels), **dict(zip(_TOPOLOGY, view.locality.split("/"), strict=False))}
        wanted = (text.partition("=") for text in setting.failover_priority)
        labels = tuple((key, value if equals else have.get(key, "")) for key, equals, value in wanted)
        return LocalityPlan(view.locality, labels=labels)
    if not view.locality:
        return None
    regions = tuple((f.from_, f.to) for f in setting.failover) if setting else ()
    return LocalityPlan(view.locality, regions=regions)


def covers(pattern: str, locality: str) -> bool:
    """Whether a pattern such as `eu/*` or `eu` holds for a locality."""
    wanted = [p for p in pattern.split("/") if p != "*"]
    return locality.split("/")[: len(wanted)] == wanted


def groups(found: LocalityPlan | None, endpoints: tuple[Endpoint, ...]) -> list[Group]:
    """The endpoints in groups, as Envoy wants them: priorities from 0 without gaps. With shares, endpoints elsewhere get none."""
    if found is not None and found.shares:
        return _shared(found, endpoints)
    members: dict[tuple[int, str], list[int]] = {}
    for index, e in enumerate(endpoints):
        members.setdefault((_priority(found, e), e.locality), []).append(index)
    levels = sorted({priority for priority, _ in members})
    return [
        Group(locality, levels.index(priority), sum(endpoints[i].weight for i in found_), tuple(found_))
        for (priority, locality), found_ in sorted(members.items())
    ]


def _shared(found: LocalityPlan, endpoints: tuple[Endpoint, ...]) -> list[Group]:
    members: dict[str, list[int]] = {}
    for index, e in enumerate(endpoints):
        members.setdefault(e.locality, []).append(index)
    # The most specific pattern decides; its weight is split among its localities by their own weights.
    patterns = sorted(found.shares, key=lambda s: -len([p for p in s[0].split("/") if p != "*"]))
    of: dict[str, list[str]] = {}
    for locality in members:
        pattern = next((p for p, _ in patterns if covers(p, locality)), None)
        if pattern is not None:
            of.setdefault(pattern, []).append(locality)
    out = []
    for pattern, weight in found.shares:
        own = {at: sum(endpoints[i].weight for i in members[at]) for at in of.get(pattern, ())}
        for at, part in sorted(own.items()):
            out.append(Group(at, 0, max(1, round(weight * part / sum(own.values()))), tuple(members[at])))
    return sorted(out, key=lambda g: g.locality)


def _parts(locality: str) -> list[str]:
    """Region, zone and subzone, empty where unknown."""
    return [*locality.split("/"), "", ""][:3]


def _priority(found: LocalityPlan | None, e: Endpoint) -> int:
    if found is None:
        return 0
    if found.labels:
        have = {**dict(e.labels), **dict(zip(_TOPOLOGY, e.locality.split("/"), strict=False))}
        same = 0
        for key, value in found.labels:
            if have.get(key, "") != value:
                break
            same += 1
        return len(found.labels) - same
    here, there = _parts(found.origin), _parts(e.locality)
    if here[0] != there[0]:
        target = dict(found.regions).get(here[0])
        return 3 if target is None or target == there[0] else 4
    return 0 if here == there else 1 if here[1] == there[1] else 2
