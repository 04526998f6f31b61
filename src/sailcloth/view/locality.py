"""Locality load balancing: which endpoints a client prefers, and with which weights. Source: istio.md 2.17.

`distribute` sets weights; `failover` and `failoverPriority` need outlier detection, which detects that near endpoints fail.
Localities are `region/zone/subzone`; a pattern may end with `*`.
"""

from __future__ import annotations

from dataclasses import dataclass

from sailcloth.api.destination_rule import LocalityLbSetting, TrafficPolicy
from sailcloth.mesh.model import Endpoint

from .proxy import View

_TOPOLOGY = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone")


@dataclass(frozen=True)
class LocalityPlan:
    """A client's preferences: by `shares` or by `labels`; if both are empty, by distance."""

    origin: str
    shares: tuple[tuple[str, int], ...] = ()  # locality pattern → weight
    regions: tuple[tuple[str, str], ...] = ()  # region → region to fail over to
    labels: tuple[tuple[str, str], ...] = ()  # labels by priority, with the client's values


@dataclass(frozen=True)
class Group:
    """Endpoints of one locality and priority, as indexes into the list of endpoints, and the sum of their weights."""

    locality: str
    priority: int
    weight: int
    members: tuple[int, ...]


def plan(view: View, policy: TrafficPolicy, mesh: LocalityLbSetting | None = None) -> LocalityPlan | None:
    """The preferences of a view for a cluster with a policy; None without any. `mesh`: the default for policies without a setting."""
    balancer = policy.load_balancer
    policy_setting = balancer.locality_lb_setting if balancer else None
    zone_aware = balancer.zone_aware_lb_setting if balancer else None
    if zone_aware is not None:  # it takes the place of the other; its failover means the same
        policy_setting = LocalityLbSetting(
            failover=zone_aware.failover, failover_priority=zone_aware.failover_priority, enabled=zone_aware.enabled
        )
    setting = policy_setting if policy_setting is not None else mesh
    if setting is not None and setting.enabled is False:
        return None
    for entry in setting.distribute if setting else ():
        if view.locality and covers(entry.from_, view.locality):
            return LocalityPlan(view.locality, shares=tuple(sorted(entry.to.items())))
    if policy.outlier_detection is None:
        return None
    if setting is not None and setting.failover_priority:
        own_labels = {**dict(view.labels), **dict(zip(_TOPOLOGY, view.locality.split("/"), strict=False))}
        entries = (text.partition("=") for text in setting.failover_priority)
        labels = tuple((key, value if equals else own_labels.get(key, "")) for key, equals, value in entries)
        return LocalityPlan(view.locality, labels=labels)
    if not view.locality:
        return None
    regions = tuple((f.from_, f.to) for f in setting.failover) if setting else ()
    return LocalityPlan(view.locality, regions=regions)


def covers(pattern: str, locality: str) -> bool:
    """Whether a pattern such as `eu/*` or `eu` matches a locality."""
    parts = [p for p in pattern.split("/") if p != "*"]
    return locality.split("/")[: len(parts)] == parts


def groups(preference: LocalityPlan | None, endpoints: tuple[Endpoint, ...]) -> list[Group]:
    """The endpoints grouped for Envoy: priorities from 0 without gaps. With shares, endpoints in other localities are left out."""
    if preference is not None and preference.shares:
        return _shared(preference, endpoints)
    members: dict[tuple[int, str], list[int]] = {}
    for index, e in enumerate(endpoints):
        members.setdefault((_priority(preference, e), e.locality), []).append(index)
    levels = sorted({priority for priority, _ in members})
    return [
        Group(locality, levels.index(priority), sum(endpoints[i].weight for i in indexes), tuple(indexes))
        for (priority, locality), indexes in sorted(members.items())
    ]


def _shared(preference: LocalityPlan, endpoints: tuple[Endpoint, ...]) -> list[Group]:
    members: dict[str, list[int]] = {}
    for index, e in enumerate(endpoints):
        members.setdefault(e.locality, []).append(index)
    # The most specific pattern is used; its weight is split among its localities by the weights of their endpoints.
    patterns = sorted(preference.shares, key=lambda s: -len([p for p in s[0].split("/") if p != "*"]))
    by_pattern: dict[str, list[str]] = {}
    for locality in members:
        pattern = next((p for p, _ in patterns if covers(p, locality)), None)
        if pattern is not None:
            by_pattern.setdefault(pattern, []).append(locality)
    result = []
    for pattern, weight in preference.shares:
        weights = {member: sum(endpoints[i].weight for i in members[member]) for member in by_pattern.get(pattern, ())}
        for member, part in sorted(weights.items()):
            result.append(
                Group(member, 0, max(1, round(weight * part / sum(weights.values()))), tuple(members[member]))
            )
    return sorted(result, key=lambda g: g.locality)


def _parts(locality: str) -> list[str]:
    """Region, zone and subzone; empty if unknown."""
    return [*locality.split("/"), "", ""][:3]


def _priority(preference: LocalityPlan | None, e: Endpoint) -> int:
    if preference is None:
        return 0
    if preference.labels:
        endpoint_labels = {**dict(e.labels), **dict(zip(_TOPOLOGY, e.locality.split("/"), strict=False))}
        same = 0
        for key, value in preference.labels:
            if endpoint_labels.get(key, "") != value:
                break
            same += 1
        return len(preference.labels) - same
    origin, target_locality = _parts(preference.origin), _parts(e.locality)
    if origin[0] != target_locality[0]:
        target = dict(preference.regions).get(origin[0])
        return 3 if target is None or target == target_locality[0] else 4
    return 0 if origin == target_locality else 1 if origin[1] == target_locality[1] else 2
