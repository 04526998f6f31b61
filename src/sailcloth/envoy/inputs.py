"""What features get to see: frozen values, one class for each kind of place in Envoy's configuration.

They hold no graph, so that what a feature emits depends on nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

from sailcloth.api.meta import Key
from sailcloth.mesh.kinds import Traffic

T = TypeVar("T")


class PolicyValue(Protocol):
    """What the objects of one policy kind amount to for a workload. Its class has a value without any object as default."""

    @property
    def sources(self) -> tuple[Key, ...]:
        """The objects that it came from and that are in force; named as sources of the listener that enforces them."""


@dataclass(frozen=True, slots=True)
class ResolvedPolicies:
    """One value of each policy feature."""

    values: tuple[PolicyValue, ...] = ()

    def of(self, kind: type[T]) -> T:
        """The value of a class; the class's default if nothing was resolved."""
        return next((v for v in self.values if isinstance(v, kind)), None) or kind()

    @property
    def sources(self) -> tuple[Key, ...]:
        """The objects that all values came from."""
        return tuple(dict.fromkeys(key for value in self.values for key in value.sources))


NO_POLICIES = ResolvedPolicies()


@dataclass(frozen=True, slots=True)
class FilterInputs:
    """What the filters of one filter chain are made from.

    dynamic_dns: some route of the chain sends requests to hosts that are looked up when they are named.
    on_demand: clusters come on first use.
    """

    traffic: Traffic
    policies: ResolvedPolicies = NO_POLICIES
    dynamic_dns: bool = False
    on_demand: bool = False


@dataclass(frozen=True, slots=True)
class ResourceInputs:
    """Where a finished resource is used. `ports` are those that lead to it, `hosts` the services that an inbound cluster serves."""

    traffic: Traffic
    policies: ResolvedPolicies = NO_POLICIES
    ports: frozenset[int] = frozenset()
    hosts: tuple[str, ...] = ()
