"""Thousands of generated requests under generated policies: `analysis.authorization` decides each as a real Envoy does.

One Envoy has a filter chain for each set of policies, which a connection chooses by its server name. Callers have certificates of their
own, connect from addresses of their own, and bring tokens that are signed.
"""

from __future__ import annotations

import datetime as dt
import http.client
import json
import random
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from envoy.config.listener.v3 import listener_components_pb2 as components
from google.protobuf import json_format

from sailcloth.analysis import authorization, manifests, offline
from sailcloth.analysis.authorization import Call, Decision, Workload
from sailcloth.envoy import pipeline
from sailcloth.envoy.inputs import FilterInputs
from sailcloth.envoy.resources import http_connection_manager as hcm
from sailcloth.mesh import mesh_config
from sailcloth.mesh.registry import Mesh
from sailcloth.view import policies
from sailcloth.view.metadata import NodeMetadata

from ..tokens import Issuer
from .loopback import Object, envoy, free_port

PEM = serialization.Encoding.PEM
SETS, CALLS, CONNECTIONS = 200, 30, 10  # sets of policies; requests and connections under each
MODES = ("BASE", "NONE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES")
LABELS = {"app": "store"}
ISSUER = Issuer("https://issuer.example")
PRINCIPALS = [
    "",
    "cluster.local/ns/shop/sa/cart",
    "cluster.local/ns/shop/sa/default",
    "cluster.local/ns/shop-2/sa/cart",
    "old.domain/ns/admin/sa/root",
]
SOURCES = ["127.0.0.1", "127.0.0.7", "127.1.2.3"]
REMOTES = ["", "10.1.2.3", "192.168.7.7", "2001:db8::7"]
METHODS = ["GET", "POST", "PUT", "DELETE"]
HOSTS = ["store", "Store.Example", "store.example:8080", "other.example"]
TEAMS = ["", "blue", "blue-1", "red-blue"]
PATHS = [
    "/", "/a", "/A", "/a/b", "/a/b/c", "/a/b.png?x=/admin", "/admin", "/admin/", "/admin/x?y", "//admin", "/a//b", "/./admin",
    "/a/../admin", "/a/%2e%2e/admin", "/%61dmin", "/%41", "/a%2fb", "/a%2Fb", "/a/%5cb", "/a\\b", "/admin%00"[:6], "/a/b/../../admin",
    "/..", "/a/..", "/a/.", "/%7Eme", "/~me", "/a;x=1/b", "/a%20b", "/a+b", "/a/b#frag"[:4], "/admin?x=/..", "/a/.../b", "/a/*", "/é"[:1],
]  # fmt: skip
CLAIMS: list[Object | None] = [
    None,
    {"sub": "me", "aud": "shop", "groups": ["staff", "night"]},
    {"sub": "me", "aud": ["shop", "else"], "groups": "staff", "azp": "client", "scope": "read write"},
    {"sub": "you/x", "aud": "shop", "org": {"team": "blue", "size": 7, "on": True}, "groups": []},
    {"sub": "you", "aud": "nobody"},
]


def some(rng: random.Random, values: list[str], most: int = 2) -> list[str]:
    return rng.sample(values, rng.randint(1, min(most, len(values))))


def fields(rng: random.Random, choices: dict[str, list[str]], most: int) -> Object:
    """Some of the fields, each with some of its values, or as its negation."""
    out: Object = {}
    for name in rng.sample(sorted(choices), rng.randint(1, most)):
        negated = "not" + name[0].upper() + name[1:]
        out[name if rng.random() < 0.7 else negated] = some(rng, choices[name])
    return out


SOURCE_FIELDS = {
    "principals": [p for p in PRINCIPALS if p] + ["*", "cluster.local/*", "*/sa/cart", "new.domain/ns/admin/sa/root"],
    "namespaces": ["shop", "shop*", "*-2", "admin", "sh*p"],
    "serviceAccounts": ["shop/cart", "cart", "admin/root"],
    "trustDomains": ["cluster.local", "old.*", "*.local"],
    "ipBlocks": ["127.0.0.7", "127.0.0.0/24", "10.0.0.0/8", "::1/128"],
    "remoteIpBlocks": ["10.0.0.0/8", "192.168.7.7", "127.0.0.0/8", "2001:db8::/32"],
    "requestPrincipals": ["*", f"{ISSUER.name}/me", f"{ISSUER.name}/*", "*/me", "*me", "you"],
}
OPERATION_FIELDS = {
    "hosts": ["store", "store.example", "*.example", "STORE*", "*", "store.example:8080"],
    "methods": [*METHODS, "P*", "*T"],
    "paths": [
        "/a",
        "/a*",
        "/admin",
        "*/admin",
        "*.png",
        "*",
        "/admin/*",
        "/a/{*}",
        "/a/{**}",
        "/{*}/b",
        "/a/{*}/{**}",
        "/~me",
    ],
    "ports": ["PORT", "1"],
}
CONDITIONS = {
    "request.headers[x-team]": ["blue", "blue*", "*blue", "*"],
    "source.ip": SOURCE_FIELDS["ipBlocks"],
    "source.namespace": SOURCE_FIELDS["namespaces"],
    "source.principal": SOURCE_FIELDS["principals"],
    "source.serviceAccount": ["shop/cart", "admin/root"],
    "source.trustDomain": SOURCE_FIELDS["trustDomains"],
    "remote.ip": SOURCE_FIELDS["remoteIpBlocks"],
    "request.auth.principal": SOURCE_FIELDS["requestPrincipals"],
    "request.auth.audiences": ["shop", "s*", "else"],
    "request.auth.presenter": ["client", "*"],
    "request.auth.claims[groups]": ["staff", "n*", "*"],
    "request.auth.claims[scope]": ["write", "read write"],
    "request.auth.claims[org][team]": ["blue", "*"],
    "request.auth.claims[org][size]": ["7"],
    "destination.ip": ["127.0.0.0/8", "10.0.0.1"],
    "destination.port": ["PORT", "1"],
    "connection.sni": ["one.*", "*.test", "two.*", "*"],
}


def rule(rng: random.Random) -> Object:
    out: Object = {}
    if rng.random() < 0.6:
        out["from"] = [{"source": fields(rng, SOURCE_FIELDS, 2)} for _ in range(rng.randint(1, 2))]
    if rng.random() < 0.6:
        out["to"] = [{"operation": fields(rng, OPERATION_FIELDS, 2)} for _ in range(rng.randint(1, 2))]
    if rng.random() < 0.5:
        keys = rng.sample(sorted(CONDITIONS), rng.randint(1, 2))
        out["when"] = [
            {"key": key, rng.choice(["values", "values", "notValues"]): some(rng, CONDITIONS[key])} for key in keys
        ]
    return out


def documents(rng: random.Random, port: int) -> str:
    """Some policies for the workload, and mostly the issuer of tokens."""
    out: list[Object] = []
    for index in range(rng.randint(1, 3)):
        action = rng.choice(["ALLOW", "ALLOW", "DENY", "AUDIT"])
        rules = [rule(rng) for _ in range(rng.randint(0 if action == "ALLOW" else 1, 3))]
        spec = {"selector": {"matchLabels": LABELS}, "action": action, "rules": rules}
        out.append(
            {"kind": "AuthorizationPolicy", "metadata": {"name": f"p{index}", "namespace": "shop"}, "spec": spec}
        )
    if rng.random() < 0.8:
        issuer = {"issuer": ISSUER.name, "jwks": ISSUER.keys}
        issuer |= {"audiences": ["shop", "more"]} if rng.random() < 0.5 else {}
        issuer |= {"presence": "REQUIRED"} if rng.random() < 0.2 else {}
        spec = {"selector": {"matchLabels": LABELS}, "jwtRules": [issuer]}
        out.append({"kind": "RequestAuthentication", "metadata": {"name": "r", "namespace": "shop"}, "spec": spec})
    text = "\n---\n".join(json.dumps({"apiVersion": "security.istio.io/v1", **obj}) for obj in out)
    return text.replace('"PORT"', f'"{port}"')


@dataclass(frozen=True)
class PolicySet:
    """A generated set: its documents, and the mesh that holds them."""

    number: int
    text: str
    mesh: Mesh

    def inputs(self, tcp: bool) -> FilterInputs:
        labels = tuple(LABELS.items())
        selected = policies.of_proxy(self.mesh.graph, "shop", labels, NodeMetadata({}), "inbound")
        return FilterInputs("inbound", self.mesh.graph.get(pipeline.resolve, selected), tcp=tcp)

    def decide(self, call: Call) -> Decision:
        return authorization.decide(self.mesh.graph, Workload("shop", LABELS), call)


def policy_set(number: int, port: int) -> PolicySet:
    rng = random.Random(number)
    text = documents(rng, port)
    objects, findings = manifests.load([text])
    assert not findings
    options = f"trustDomainAliases: [old.domain, new.domain]\npathNormalization: {{normalization: {MODES[number % 4]}}}"
    return PolicySet(number, text, offline.mesh_of(objects, mesh_config.parse(options)))


class Certificates:
    """Files of an authority and of one certificate for each principal, and of a server."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
        self.root = folder / "root.pem"
        self.root.write_bytes(self._certificate(self._key, None).public_bytes(PEM))
        self.server = self._issue("server", x509.DNSName("*.test"))
        self.callers = {
            p: self._issue(str(i), x509.UniformResourceIdentifier(f"spiffe://{p}"))
            for i, p in enumerate(PRINCIPALS)
            if p
        }

    def _issue(self, name: str, alternative: x509.GeneralName) -> tuple[str, str]:
        key = ec.generate_private_key(ec.SECP256R1())
        chain, secret = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        chain.write_bytes(self._certificate(key, alternative).public_bytes(PEM))
        secret.write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        return str(chain), str(secret)

    def _certificate(self, key: ec.EllipticCurvePrivateKey, alternative: x509.GeneralName | None) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(self._name if alternative is None else x509.Name([]))
            .issuer_name(self._name)
            .public_key(key.public_key())
        )
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(minutes=1))
        builder = builder.not_valid_after(now + dt.timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(alternative is None, None), critical=True)
        if alternative is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def tls(certificates: Certificates) -> Object:
    chain, secret = certificates.server
    context = {
        "tls_certificates": [{"certificate_chain": {"filename": chain}, "private_key": {"filename": secret}}],
        "validation_context": {"trusted_ca": {"filename": str(certificates.root)}},
    }
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    return {"name": "tls", "typed_config": {"@type": kind, "common_tls_context": context}}


def as_json(filter_: components.Filter) -> Object:
    return json_format.MessageToDict(filter_, preserving_proto_field_name=True)


def chain(sets: PolicySet, certificates: Certificates, tcp: bool) -> Object:
    """The chain of one set: an answer to every request, or an echo."""
    inputs = sets.inputs(tcp)
    if tcp:
        echo = {"@type": "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo"}
        last = [{"name": "envoy.filters.network.echo", "typed_config": echo}]
    else:
        manager = hcm.connection_manager(
            "inbound", pipeline.http_filters(inputs), direction="inbound", normalization=MODES[sets.number % 4]
        )
        last = [as_json(manager)]
        answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
        last[0]["typed_config"]["route_config"] = {
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [answer]}]
        }
    return {
        "filter_chain_match": {"server_names": [f"*.s{sets.number}.test"]},
        "filters": [*(as_json(f) for f in pipeline.network_filters(inputs)), *last],
        "transport_socket": tls(certificates),
    }


def listener(name: str, port: int, chains: list[Object]) -> Object:
    inspector = {"@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"}
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "listener_filters": [{"name": "envoy.filters.listener.tls_inspector", "typed_config": inspector}],
        "filter_chains": chains,
    }


@dataclass(frozen=True)
class Setup:
    """A running Envoy with all sets, and the contexts of callers."""

    sets: list[PolicySet]
    http_port: int
    tcp_port: int
    contexts: dict[str, ssl.SSLContext]

    def connect(self, number: int, call: Call) -> ssl.SSLSocket:
        port = self.tcp_port if call.protocol == "tcp" else self.http_port
        raw = socket.create_connection(("127.0.0.1", port), 10, source_address=(call.source_ip, 0))
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.contexts[call.principal].wrap_socket(raw, server_hostname=f"{call.sni}")


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    certificates = Certificates(tmp_path_factory.mktemp("certificates"))
    http_port, tcp_port = free_port(), free_port()
    sets = [policy_set(number, http_port) for number in range(SETS)]
    listeners = [
        listener("http", http_port, [chain(s, certificates, tcp=False) for s in sets]),
        listener("tcp", tcp_port, [chain(s, certificates, tcp=True) for s in sets]),
    ]
    contexts = {}
    for principal in PRINCIPALS:
        contexts[principal] = ssl.create_default_context(cafile=str(certificates.root))
        contexts[principal].check_hostname = False
        if principal:
            contexts[principal].load_cert_chain(*certificates.callers[principal])
    admin = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}
    with envoy({"static_resources": {"listeners": listeners}, "admin": admin}):
        yield Setup(sets, http_port, tcp_port, contexts)


def status(setup: Setup, number: int, call: Call, token: str) -> int:
    """Envoy's answer to a request."""
    with setup.connect(number, call) as link:
        connection = http.client.HTTPConnection("unused")
        connection.sock = link
        connection.putrequest(call.method, call.path, skip_host=True, skip_accept_encoding=True)
        headers = {"Host": call.host, **call.headers, "Connection": "close"}
        headers |= {"Authorization": f"Bearer {token}"} if token else {}
        headers |= {"X-Forwarded-For": call.remote_ip} if call.remote_ip else {}
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        return connection.getresponse().status


def test_requests(setup: Setup) -> None:
    decisions: dict[str, int] = {}
    for each in setup.sets:
        rng = random.Random(each.number + 1_000)
        for _ in range(CALLS):
            claims = rng.choice(CLAIMS)
            team = rng.choice(TEAMS)
            call = Call(
                principal=rng.choice(PRINCIPALS),
                source_ip=rng.choice(SOURCES),
                destination_ip="127.0.0.1",
                remote_ip=rng.choice(REMOTES),
                method=rng.choice(METHODS),
                path=rng.choice(PATHS),
                host=rng.choice(HOSTS),
                port=setup.http_port,
                headers={"x-team": team} if team else {},
                claims={"iss": ISSUER.name, **claims} if claims is not None else None,
                sni=f"{rng.choice(['one', 'two'])}.s{each.number}.test",
            )
            decision = each.decide(call)
            token = ISSUER.token(**claims) if claims is not None else ""
            found = status(setup, each.number, call, token)
            assert found in (200, 401, 403), (found, call)
            expected = decision.decision == "deny"
            assert (found != 200) == expected, (found, decision, call, MODES[each.number % 4], each.text)
            decisions[decision.decision] = decisions.get(decision.decision, 0) + 1
    assert min(decisions["allow"], decisions["deny"]) > SETS * CALLS / 10, decisions


def passes(setup: Setup, number: int, call: Call) -> bool:
    """Whether Envoy sends back what a connection sends."""
    with setup.connect(number, call) as link:
        link.settimeout(10)
        try:
            link.sendall(b"hello")
            return link.recv(5) == b"hello"
        except OSError:
            return False


def test_connections(setup: Setup) -> None:
    decisions: dict[str, int] = {}
    for each in setup.sets:
        rng = random.Random(each.number + 2_000)
        for _ in range(CONNECTIONS):
            call = Call(
                principal=rng.choice(PRINCIPALS),
                source_ip=rng.choice(SOURCES),
                destination_ip="127.0.0.1",
                port=setup.tcp_port,
                sni=f"{rng.choice(['one', 'two'])}.s{each.number}.test",
                protocol="tcp",
            )
            decision = each.decide(call)
            assert passes(setup, each.number, call) == (decision.decision != "deny"), (decision, call, each.text)
            decisions[decision.decision] = decisions.get(decision.decision, 0) + 1
    assert min(decisions["allow"], decisions["deny"]) > SETS * CONNECTIONS / 20, decisions
