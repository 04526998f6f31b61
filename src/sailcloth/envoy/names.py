"""Names of Envoy objects, byte-compatible with Istio's. No other module may build or parse them."""

from __future__ import annotations

from sailcloth.view.routes import ClusterId
from sailcloth.view.udp import DatagramsId

BLACK_HOLE = "BlackHoleCluster"
PASSTHROUGH = "PassthroughCluster"
DYNAMIC_DNS = "AllowAnyDynamicDNSCluster"
INBOUND_PASSTHROUGH = "InboundPassthroughCluster"
VIRTUAL_OUTBOUND = "virtualOutbound"
VIRTUAL_INBOUND = "virtualInbound"
XDS_CLUSTER = "xds-grpc"
SDS_CLUSTER = "sds-grpc"
XDS_CLUSTER = "xds-grpc"

HTTP_PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"  # key of a cluster's extension options

OUTBOUND_PORT, INBOUND_PORT = 15001, 15006
INBOUND_SOURCE = "127.0.0.6"


def outbound(cluster: ClusterId) -> str:
    """`outbound|9080|v1|reviews.default.svc.cluster.local`; for AUTO_PASSTHROUGH the SNI instead."""
    if cluster.passthrough:
        return sni(cluster)
    return f"outbound|{cluster.port}|{cluster.subset}|{cluster.host}"


def datagrams(ident: DatagramsId) -> str:
    """`udp|53||edge~dns.default`: the cluster of a gateway's UDP port. Istio has none."""
    return f"udp|{ident.port}||{ident.gateway.name}.{ident.gateway.namespace}"


def sni(cluster: ClusterId) -> str:
    """SNI of mutual TLS in the mesh: `outbound_.9080_.v1_.reviews.default.svc.cluster.local`."""
    return f"outbound_.{cluster.port}_.{cluster.subset}_.{cluster.host}"


def inbound(port: int) -> str:
    """`inbound|9080||`."""
    return f"inbound|{port}||"


def listener(address: str, port: int) -> str:
    """`0.0.0.0_9080` or `<address>_<port>`; for a UNIX socket its path."""
    if address.startswith("unix://"):
        return address
    return f"{address}_{port}"


def udp_listener(address: str, port: int) -> str:
    """`0.0.0.0_53_udp`, beside the listener for TCP of the same port."""
    return f"{listener(address, port)}_udp"


def credential(name: str) -> str:
    """The SDS name of a Secret: `kubernetes://my-cert`; a name with a scheme is unchanged."""
    return name if "://" in name else f"kubernetes://{name}"


def config_path(kind: str, namespace: str, name: str) -> str:
    """The API path in Envoy metadata of the object that a route or cluster derives from."""
    dashed = "".join(f"-{c.lower()}" if c.isupper() else c for c in kind).lstrip("-")
    return f"/apis/networking.istio.io/v1/namespaces/{namespace}/{dashed}/{name}"
