"""The inputs of features: frozen values, one class for filters and one for finished resources.

Must not hold the graph, so that a feature's output depends on nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from sailcloth.api.meta import Key
from sailcloth.mesh.kinds import Traffic
from sailcloth.view.routes import ClusterId

T = TypeVar("T")


class PolicyValue(Protocol):
    """The effective value of all policies of one kind for a workload. The class's default is the value without any policy."""

    @property
    def sources(self) -> tuple[Key, ...]:
        """The policies in force that it derives from; they become sources of the listener that enforces them."""


@runtime_checkable
class CallsClusters(Protocol):
    """A policy value whose filters call clusters."""

    @property
    def clusters(self) -> tuple[ClusterId, ...]:
        """The clusters that the filters call."""


@dataclass(frozen=True, slots=True)
class ResolvedPolicies:
    """One value of each policy feature."""

    values: tuple[PolicyValue, ...] = ()

    def of(self, kind: type[T]) -> T:
        """The value of a class; the class's default if there is none."""
        return next((v for v in self.values if isinstance(v, kind)), None) or kind()

    @property
    def sources(self) -> tuple[Key, ...]:
        """The policies that all values derive from."""
        return tuple(dict.fromkeys(key for value in self.values for key in value.sources))

    @property
    def clusters(self) -> tuple[ClusterId, ...]:
        """The clusters that filters of policies call; a proxy must have them before the listener."""
        calling = (value for value in self.values if isinstance(value, CallsClusters))
        return tuple(dict.fromkeys(cluster for value in calling for cluster in value.clusters))


NO_POLICIES = ResolvedPolicies()


@dataclass(frozen=True, slots=True)
class FilterInputs:
    """The inputs of the filters of one filter chain.

    dynamic_dns: some route of the chain resolves the request's host by DNS (dynamic forward proxy).
    on_demand: the proxy subscribes to clusters on first use.
    tcp: the chain forwards bytes.
    """

    traffic: Traffic
    policies: ResolvedPolicies = NO_POLICIES
    dynamic_dns: bool = False
    on_demand: bool = False
    tcp: bool = False


@dataclass(frozen=True, slots=True)
class ResourceInputs:
    """Where a finished resource is used. `ports`: the ports that lead to it; `hosts`: the services of an inbound cluster."""

    traffic: Traffic
    policies: ResolvedPolicies = NO_POLICIES
    ports: frozenset[int] = frozenset()
    hosts: tuple[str, ...] = ()
