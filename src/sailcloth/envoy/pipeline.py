"""The order in which features shape Envoy's messages, visible in one place. Adding a feature is a folder and a line here."""

from __future__ import annotations

from .features.client_tls import emit as client_tls
from .features.connection_pools import emit as connection_pools
from .features.cors import emit as cors
from .features.destinations import emit as destinations
from .features.dynamic_dns import emit as dynamic_dns
from .features.faults import emit as faults
from .features.headers import emit as headers
from .features.load_balancing import emit as load_balancing
from .features.matching import emit as matching
from .features.mirroring import emit as mirroring
from .features.on_demand import emit as on_demand
from .features.outlier_detection import emit as outlier_detection
from .features.protocols import emit as protocols
from .features.redirects import emit as redirects
from .features.retries import emit as retries
from .features.rewrites import emit as rewrites
from .features.timeouts import emit as timeouts

ROUTE = (
    matching.route,
    destinations.route,  # makes the route action that the following refine
    redirects.route,
    timeouts.route,
    retries.route,
    mirroring.route,
    headers.route,
    rewrites.route,  # after headers: an explicit authority wins
    load_balancing.route,
    faults.route,
    cors.route,
    dynamic_dns.route,
)

CLUSTER = (
    connection_pools.cluster,
    load_balancing.cluster,
    outlier_detection.cluster,
    protocols.cluster,
    client_tls.cluster,
    client_tls.proxy_protocol,  # wraps whatever transport there is
    dynamic_dns.cluster,
    on_demand.cluster,
)

# Filters that a listener lists for features which single routes turn on.
OPTIONAL_HTTP_FILTERS = (faults.FILTER, cors.FILTER)
# Listed only where some route needs it, because it keeps a cache of addresses.
RARE_HTTP_FILTERS = (dynamic_dns.FILTER,)
