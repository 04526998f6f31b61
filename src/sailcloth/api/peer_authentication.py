"""PeerAuthentication (security.istio.io): whether a workload requires mutual TLS."""

from __future__ import annotations

from typing import Annotated, Literal

from .meta import Constraint, D, Object, Selector, Struct

MtlsMode = Literal["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]


class MutualTLS(Struct):
    """A mutual TLS mode."""

    mode: Annotated[MtlsMode, D("UNSET (inherit), DISABLE, PERMISSIVE or STRICT.")] = "UNSET"


class PeerAuthenticationSpec(Struct):
    """Mutual TLS settings."""

    selector: Annotated[Selector | None, D("Workloads it applies to; default the whole namespace.")] = None
    mtls: Annotated[MutualTLS | None, D("Mode for all ports.")] = None
    port_level_mtls: Annotated[
        dict[str, MutualTLS],
        D("Mode by the workload's port number.", min_length=1),
        Constraint(("self.all(key, 0 < int(key) && int(key) <= 65535)", "port must be between 1-65535")),
    ] = {}


_PORTS_NEED_WORKLOADS = Constraint(
    (
        "!has(self.portLevelMtls) || (has(self.selector) && has(self.selector.matchLabels) && self.selector.matchLabels.size() > 0)",
        "portLevelMtls requires selector",
    )
)


class PeerAuthentication(Object):
    """Defines whether connections to workloads need mutual TLS."""

    spec: Annotated[PeerAuthenticationSpec, _PORTS_NEED_WORKLOADS] = PeerAuthenticationSpec()
