"""Rules of validation, one case each: what is wrong, where, and of which kind. A case without a code must be accepted."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from sailcloth.api import validation
from sailcloth.api.validation import codes

GROUPS = {
    "RateLimit": "sailcloth.io/v1alpha1",
    "AuthorizationPolicy": "security.istio.io/v1",
    "PeerAuthentication": "security.istio.io/v1",
    "RequestAuthentication": "security.istio.io/v1",
    "Telemetry": "telemetry.istio.io/v1",
    "WasmPlugin": "extensions.istio.io/v1alpha1",
    "TrafficExtension": "extensions.istio.io/v1alpha1",
    "EnvoyFilter": "networking.istio.io/v1alpha3",
    "ProxyConfig": "networking.istio.io/v1beta1",
}


def document(kind: str, spec: Any, **metadata: Any) -> dict[str, Any]:
    found = yaml.safe_load(spec) if isinstance(spec, str) else spec
    version = GROUPS.get(kind, "networking.istio.io/v1")
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": "a", "namespace": "ns", **metadata},
        "spec": found,
    }


def http(rule: str) -> str:
    return f"{{hosts: [a.com], http: [{{{rule}}}]}}"


ROUTE = "route: [{destination: {host: b}}]"
PORT = "{number: 80, name: http, protocol: HTTP}"

# (kind, spec, path, code); path and code are empty where nothing is wrong
CASES: list[tuple[str, str, str, str]] = [
    # limits of our own
    ("RateLimit", "{http: [{limit: {requests: 1}}]}", "", ""),
    ("RateLimit", "{}", "spec", codes.REQUIRED),
    ("RateLimit", "{http: [{limit: {requests: 0}}]}", "spec.http[0].limit.requests", codes.TYPE),
    ("RateLimit", "{connections: {requests: 5, per: 1d}}", "spec.connections.per", codes.TYPE),
    ("RateLimit", "{http: [{limit: {requests: 5}, by: [{}]}]}", "spec.http[0].by[0]", codes.CONFLICT),
    ("RateLimit", "{http: [{limit: {requests: 5}, by: [{header: 'a b'}]}]}", "spec.http[0].by[0].header", codes.NAME),
    # hosts and gateways of a VirtualService
    ("VirtualService", http(ROUTE), "", ""),
    ("VirtualService", f"{{hosts: ['*'], http: [{{{ROUTE}}}]}}", "spec.hosts[0]", codes.HOST),
    ("VirtualService", f"{{hosts: ['*'], gateways: [g], http: [{{{ROUTE}}}]}}", "", ""),
    ("VirtualService", f"{{hosts: ['*'], gateways: [g, mesh], http: [{{{ROUTE}}}]}}", "spec.hosts[0]", codes.HOST),
    ("VirtualService", f"{{hosts: [a.*.com], http: [{{{ROUTE}}}]}}", "spec.hosts[0]", codes.HOST),
    ("VirtualService", f"{{hosts: [10.1.2.3], http: [{{{ROUTE}}}]}}", "", ""),
    ("VirtualService", f"{{hosts: [a.b.c, '*.c'], http: [{{{ROUTE}}}]}}", "spec.hosts[1]", codes.DUPLICATE),
    ("VirtualService", f"{{hosts: [a], gateways: [x/y/z], http: [{{{ROUTE}}}]}}", "spec.gateways[0]", codes.NAME),
    ("VirtualService", f"{{hosts: [a], gateways: [/y], http: [{{{ROUTE}}}]}}", "spec.gateways[0]", codes.NAMESPACE),
    ("VirtualService", "{hosts: [a]}", "spec", codes.REQUIRED),
    ("VirtualService", f"{{gateways: [g], http: [{{{ROUTE}}}]}}", "spec.gateways", codes.CONFLICT),
    ("VirtualService", f"{{hosts: [a], exportTo: ['*', x], http: [{{{ROUTE}}}]}}", "spec.exportTo", codes.CONFLICT),
    ("VirtualService", f"{{hosts: [a], exportTo: [., ns], http: [{{{ROUTE}}}]}}", "spec.exportTo[1]", codes.DUPLICATE),
    ("VirtualService", f"{{hosts: [a], exportTo: [a.b], http: [{{{ROUTE}}}]}}", "spec.exportTo[0]", codes.NAMESPACE),
    # what a rule does
    ("VirtualService", http("match: [{port: 80}]"), "spec.http[0]", codes.REQUIRED),
    ("VirtualService", http(f"{ROUTE}, redirect: {{uri: /a}}"), "spec.http[0]", codes.CONFLICT),
    ("VirtualService", http(f"{ROUTE}, directResponse: {{status: 200}}"), "spec.http[0]", codes.CONFLICT),
    ("VirtualService", http("redirect: {uri: /a}, rewrite: {uri: /b}"), "spec.http[0].rewrite", codes.CONFLICT),
    ("VirtualService", http("redirect: {uri: /a}, fault: {delay: {fixedDelay: 1s}}"), "spec.http[0].fault", codes.CONFLICT),
    ("VirtualService", http("redirect: {redirectCode: 305}"), "spec.http[0].redirect.redirectCode", codes.CHOICE),
    ("VirtualService", http("redirect: {redirectCode: 308}"), "", ""),
    ("VirtualService", http("delegate: {namespace: x}"), "spec.http[0].delegate.name", codes.REQUIRED),
    ("VirtualService", "{http: [{delegate: {name: x}}]}", "spec.http[0].delegate", codes.CONFLICT),
    ("VirtualService", http("delegate: {name: x}, match: [{uri: {regex: a}}]"), "spec.http[0].match[0].uri.regex", codes.CONFLICT),
    ("VirtualService", http(f"{ROUTE}, rewrite: {{}}"), "spec.http[0].rewrite", codes.REQUIRED),
    ("VirtualService", http(f"{ROUTE}, rewrite: {{uri: /, uriRegexRewrite: {{match: a, rewrite: b}}}}"), "spec.http[0].rewrite", codes.CONFLICT),
    # destinations and weights
    ("VirtualService", http("route: [{destination: {host: '*'}}]"), "spec.http[0].route[0].destination.host", codes.HOST),
    ("VirtualService", http("route: [{destination: {host: b, port: {number: 0}}}]"), "spec.http[0].route[0].destination.port.number", codes.PORT),
    ("VirtualService", http("route: [{destination: {host: b, subset: 'v 1'}}]"), "spec.http[0].route[0].destination.subset", codes.NAME),
    ("VirtualService", http("route: [{destination: {host: b}}, {destination: {host: c}}]"), "spec.http[0].route", codes.WEIGHT),
    ("VirtualService", http("route: [{destination: {host: b}, weight: 10}, {destination: {host: c}, weight: 20}]"), "", ""),
    ("VirtualService", http(f"{ROUTE}, mirror: {{host: c}}, mirrors: [{{destination: {{host: d}}}}]"), "spec.http[0]", codes.CONFLICT),
    # matches
    ("VirtualService", http(f"{ROUTE}, match: [{{uri: {{regex: '[a'}}}}]"), "spec.http[0].match[0].uri.regex", codes.REGEX),
    ("VirtualService", http(f"{ROUTE}, match: [{{uri: {{regex: '(?=a)'}}}}]"), "spec.http[0].match[0].uri.regex", codes.REGEX),
    ("VirtualService", http(f"{ROUTE}, match: [{{method: {{prefix: ''}}}}]"), "spec.http[0].match[0].method.prefix", codes.REQUIRED),
    ("VirtualService", http(f"{ROUTE}, match: [{{uri: {{prefix: ''}}}}]"), "", ""),
    ("VirtualService", http(f"{ROUTE}, match: [{{uri: {{prefix: a, exact: b}}}}]"), "spec.http[0].match[0].uri", codes.CONFLICT),
    ("VirtualService", http(f"{ROUTE}, match: [{{headers: {{'a b': {{exact: c}}}}}}]"), "spec.http[0].match[0].headers", codes.NAME),
    ("VirtualService", http(f"{ROUTE}, match: [{{sourceLabels: {{'-a': b}}}}]"), "spec.http[0].match[0].sourceLabels", codes.LABEL),
    # time
    ("VirtualService", http(f"{ROUTE}, timeout: 100us"), "spec.http[0].timeout", codes.DURATION),
    ("VirtualService", http(f"{ROUTE}, timeout: 1.5ms"), "spec.http[0].timeout", codes.DURATION),
    ("VirtualService", http(f"{ROUTE}, timeout: 0s"), "", ""),
    ("VirtualService", http(f"{ROUTE}, timeout: 5 s"), "spec.http[0].timeout", codes.TYPE),
    # retries, faults, CORS
    ("VirtualService", http(f"{ROUTE}, retries: {{attempts: -1}}"), "spec.http[0].retries.attempts", codes.RANGE),
    ("VirtualService", http(f"{ROUTE}, retries: {{attempts: 0, perTryTimeout: 1s}}"), "spec.http[0].retries.attempts", codes.CONFLICT),
    ("VirtualService", http(f"{ROUTE}, retries: {{attempts: 1, retryOn: '5xx,bogus'}}"), "spec.http[0].retries.retryOn", codes.CHOICE),
    ("VirtualService", http(f"{ROUTE}, retries: {{attempts: 1, retryOn: '5xx,503'}}"), "", ""),
    ("VirtualService", http(f"{ROUTE}, fault: {{}}"), "spec.http[0].fault", codes.REQUIRED),
    ("VirtualService", http(f"{ROUTE}, fault: {{abort: {{httpStatus: 700}}}}"), "spec.http[0].fault.abort.httpStatus", codes.RANGE),
    ("VirtualService", http(f"{ROUTE}, fault: {{abort: {{grpcStatus: NOPE}}}}"), "spec.http[0].fault.abort.grpcStatus", codes.CHOICE),
    ("VirtualService", http(f"{ROUTE}, fault: {{delay: {{exponentialDelay: 1s}}}}"), "spec.http[0].fault.delay.exponentialDelay", codes.CHOICE),
    ("VirtualService", http(f"{ROUTE}, fault: {{delay: {{fixedDelay: 1s, percentage: {{value: 101}}}}}}"), "spec.http[0].fault.delay.percentage.value", codes.TYPE),
    ("VirtualService", http(f"{ROUTE}, corsPolicy: {{allowMethods: [get it]}}"), "spec.http[0].corsPolicy.allowMethods[0]", codes.NAME),
    ("VirtualService", http(f"{ROUTE}, corsPolicy: {{maxAge: 1500ms}}"), "spec.http[0].corsPolicy.maxAge", codes.DURATION),
    ("VirtualService", http(f"{ROUTE}, headers: {{request: {{set: {{Host: x}}, add: {{':authority': y}}}}}}"), "spec.http[0].headers.request", codes.CONFLICT),
    ("VirtualService", http(f"{ROUTE}, headers: {{request: {{set: {{':path': x}}}}}}"), "spec.http[0].headers.request.set.:path", codes.NAME),
    ("VirtualService", http(f"{ROUTE}, headers: {{request: {{add: {{Host: x}}}}}}"), "", ""),
    ("VirtualService", http(f"{ROUTE}, headers: {{request: {{remove: [x-a, host]}}}}"), "spec.http[0].headers.request.remove[1]", codes.NAME),
    ("VirtualService", http(f"{ROUTE}, headers: {{response: {{set: {{host: x}}}}}}"), "spec.http[0].headers.response.set.host", codes.NAME),
    ("VirtualService", http(f"{ROUTE}, headers: {{response: {{remove: [':status']}}}}"), "spec.http[0].headers.response.remove[0]", codes.NAME),
    ("VirtualService", http(f"{ROUTE}, headers: {{request: {{set: {{x-a: 50%}}}}}}"), "spec.http[0].headers.request.set.x-a", codes.TYPE),
    ("VirtualService", http(f"{ROUTE}, headers: {{request: {{set: {{x-a: '50%% of %REQ(x-b?x-c):5%'}}}}}}"), "", ""),
    ("VirtualService", http(f'{ROUTE}, headers: {{request: {{set: {{x-a: "b\\n"}}}}}}'), "spec.http[0].headers.request.set.x-a", codes.TYPE),
    ("VirtualService", http(f'{ROUTE}, rewrite: {{authority: "b\\n"}}'), "spec.http[0].rewrite.authority", codes.TYPE),
    ("VirtualService", http('redirect: {uri: "/b\\n"}'), "spec.http[0].redirect.uri", codes.TYPE),
    ("VirtualService", http("directResponse: {status: 100}"), "spec.http[0].directResponse.status", codes.RANGE),
    ("VirtualService", http(f"{ROUTE}, rewrite: {{uriRegexRewrite: {{match: '(a', rewrite: b}}}}"), "spec.http[0].rewrite.uriRegexRewrite.match", codes.REGEX),
    ("VirtualService", http(f"{ROUTE}, match: [{{uri: {{regex: '\\x{{100}}'}}}}]"), "spec.http[0].match[0].uri.regex", codes.REGEX),
    ("VirtualService", http(f"{ROUTE}, match: [{{uri: {{regex: '\\x{{e9}}'}}}}]"), "", ""),
    # TLS and TCP rules
    ("VirtualService", "{hosts: [a.com], tls: [{route: [{destination: {host: b}}]}]}", "spec.tls[0].match", codes.REQUIRED),
    ("VirtualService", "{hosts: [a.com], tls: [{match: [{sniHosts: [b.com]}], route: [{destination: {host: b}}]}]}", "spec.tls[0].match[0].sniHosts[0]", codes.HOST),
    ("VirtualService", "{hosts: ['*.com'], tls: [{match: [{sniHosts: [b.com]}], route: [{destination: {host: b}}]}]}", "", ""),
    ("VirtualService", "{hosts: [a.com], tcp: [{match: [{port: 80}]}]}", "spec.tcp[0].route", codes.REQUIRED),
    ("VirtualService", "{hosts: [a.com], tcp: [{match: [{destinationSubnets: [1.2.3.4/40]}], route: [{destination: {host: b}}]}]}", "spec.tcp[0].match[0].destinationSubnets[0]", codes.ADDRESS),
    # DestinationRule
    ("DestinationRule", "{host: '*.a.com'}", "", ""),
    ("DestinationRule", "{host: 'a b'}", "spec.host", codes.HOST),
    ("DestinationRule", "{host: a, trafficPolicy: {}}", "spec.trafficPolicy", codes.REQUIRED),
    ("DestinationRule", "{host: a, trafficPolicy: {connectionPool: {}}}", "spec.trafficPolicy.connectionPool", codes.REQUIRED),
    ("DestinationRule", "{host: a, trafficPolicy: {connectionPool: {tcp: {maxConnections: -1}}}}", "spec.trafficPolicy.connectionPool.tcp.maxConnections", codes.RANGE),
    ("DestinationRule", "{host: a, trafficPolicy: {connectionPool: {http: {h2UpgradePolicy: UPGRADE, useClientProtocol: true}}}}", "spec.trafficPolicy.connectionPool.http.useClientProtocol", codes.CONFLICT),
    ("DestinationRule", "{host: a, trafficPolicy: {loadBalancer: {simple: RANDOM, consistentHash: {useSourceIp: true}}}}", "spec.trafficPolicy.loadBalancer", codes.CONFLICT),
    ("DestinationRule", "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: ''}}}}}", "spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.name", codes.REQUIRED),
    ("DestinationRule", "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 10}}}}}", "spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize", codes.RANGE),
    ("DestinationRule", "{host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {distribute: [{from: a/b, to: {a/b: 60}}]}}}}", "spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to", codes.WEIGHT),
    ("DestinationRule", "{host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {distribute: [{from: a/*/c, to: {a: 100}}]}}}}", "spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].from", codes.NAME),
    ("DestinationRule", "{host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {failover: [{from: x, to: x}]}}, outlierDetection: {interval: 1s}}}", "spec.trafficPolicy.loadBalancer.localityLbSetting.failover[0]", codes.CONFLICT),
    ("DestinationRule", "{host: a, trafficPolicy: {outlierDetection: {consecutiveLocalOriginFailures: 5}}}", "spec.trafficPolicy.outlierDetection.consecutiveLocalOriginFailures", codes.CONFLICT),
    ("DestinationRule", "{host: a, trafficPolicy: {outlierDetection: {interval: 0.1ms}}}", "spec.trafficPolicy.outlierDetection.interval", codes.DURATION),
    ("DestinationRule", "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true, ringHash: {minimumRingSize: 8388609}}}}}", "spec.trafficPolicy.loadBalancer.consistentHash.ringHash.minimumRingSize", codes.RANGE),
    ("DestinationRule", "{host: a, trafficPolicy: {tls: {mode: SIMPLE, sni: " + "a" * 256 + "}}}", "spec.trafficPolicy.tls.sni", codes.SIZE),
    ("DestinationRule", "{host: a, trafficPolicy: {tls: {mode: MUTUAL}}}", "spec.trafficPolicy.tls.clientCertificate", codes.TLS),
    ("DestinationRule", "{host: a, trafficPolicy: {tls: {mode: MUTUAL, credentialName: x}}}", "", ""),
    ("DestinationRule", "{host: a, trafficPolicy: {tls: {mode: SIMPLE, credentialName: x, caCertificates: y}}}", "spec.trafficPolicy.tls.caCertificates", codes.TLS),
    ("DestinationRule", "{host: a, trafficPolicy: {portLevelSettings: [{tls: {mode: SIMPLE}}]}}", "spec.trafficPolicy.portLevelSettings[0].port", codes.REQUIRED),
    ("DestinationRule", "{host: a, trafficPolicy: {tunnel: {targetHost: b, targetPort: 0}}}", "spec.trafficPolicy.tunnel.targetPort", codes.PORT),
    ("DestinationRule", "{host: a, subsets: [{name: v1}, {name: v1}]}", "spec.subsets[1].name", codes.DUPLICATE),
    ("DestinationRule", "{host: a, subsets: [{name: v_1}]}", "spec.subsets[0].name", codes.NAME),
    ("DestinationRule", "{host: a, subsets: [{name: v1, labels: {version: 'a b'}}]}", "spec.subsets[0].labels.version", codes.LABEL),
    ("DestinationRule", "{host: a, exportTo: [other], workloadSelector: {matchLabels: {app: x}}}", "spec.exportTo", codes.CONFLICT),
    ("DestinationRule", "{host: a, workloadSelector: {matchLabels: {app: 'x*'}}}", "spec.workloadSelector.app", codes.LABEL),
    # Gateway
    ("Gateway", f"{{servers: [{{port: {PORT}, hosts: ['*']}}]}}", "", ""),
    ("Gateway", "{servers: [{port: {number: 80, protocol: HTTP}, hosts: ['*']}]}", "spec.servers[0].port.name", codes.REQUIRED),
    ("Gateway", "{servers: [{port: {number: 80, name: web_a.example.com, protocol: HTTP}, hosts: ['*']}]}", "", ""),
    ("Gateway", f"{{servers: [{{port: {PORT}}}]}}", "spec.servers[0].hosts", codes.REQUIRED),
    ("Gateway", f"{{servers: [{{port: {PORT}, hosts: [short]}}]}}", "spec.servers[0].hosts[0]", codes.HOST),
    ("Gateway", f"{{servers: [{{port: {PORT}, hosts: ['a b/*']}}]}}", "spec.servers[0].hosts[0]", codes.NAMESPACE),
    ("Gateway", f"{{servers: [{{port: {PORT}, hosts: ['~/*']}}]}}", "spec.servers[0].hosts[0]", codes.NAMESPACE),
    ("Gateway", "{servers: [{port: {number: 80, name: a, protocol: FOO}, hosts: ['*']}]}", "spec.servers[0].port.protocol", codes.CHOICE),
    ("Gateway", "{servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: ['*']}]}", "spec.servers[0].tls", codes.TLS),
    ("Gateway", f"{{servers: [{{port: {PORT}, hosts: ['*'], tls: {{mode: SIMPLE}}}}]}}", "spec.servers[0].tls", codes.TLS),
    ("Gateway", "{servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE}}]}", "spec.servers[0].tls.serverCertificate", codes.TLS),
    ("Gateway", "{servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: x}}]}", "", ""),
    ("Gateway", "{servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: ['*'], tls: {mode: ISTIO_MUTUAL, credentialName: x}}]}", "spec.servers[0].tls.credentialName", codes.TLS),
    ("Gateway", "{servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: ['*'], tls: {mode: MUTUAL, serverCertificate: a, privateKey: b}}]}", "spec.servers[0].tls.caCertificates", codes.TLS),
    ("Gateway", "{servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, credentialNames: [a, b, c]}}]}", "spec.servers[0].tls.credentialNames", codes.TLS),
    ("Gateway", "{servers: [{port: {number: 443, name: a, protocol: TLS}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: x, minProtocolVersion: TLSV1_3, maxProtocolVersion: TLSV1_2}}]}", "spec.servers[0].tls.minProtocolVersion", codes.TLS),
    ("Gateway", "{servers: [{port: {number: 443, name: a, protocol: TLS}, hosts: ['*'], tls: {mode: MUTUAL, credentialName: x, verifyCertificateSpki: [abc]}}]}", "spec.servers[0].tls.verifyCertificateSpki[0]", codes.TLS),
    ("Gateway", "{servers: [{port: {number: 443, name: a, protocol: TLS}, hosts: ['*'], tls: {mode: MUTUAL, credentialName: x, verifyCertificateHash: [" + "ab:" * 31 + "ab, " + "ab" * 32 + "]}}]}", "", ""),
    ("Gateway", f"{{servers: [{{port: {PORT}, hosts: ['*'], bind: nowhere}}]}}", "spec.servers[0].bind", codes.ADDRESS),
    # ServiceEntry
    ("ServiceEntry", f"{{hosts: [a.com], ports: [{PORT}], resolution: DNS}}", "", ""),
    ("ServiceEntry", "{hosts: ['*']}", "spec.hosts[0]", codes.HOST),
    ("ServiceEntry", "{hosts: [a.com], addresses: [1.2.3]}", "spec.addresses[0]", codes.ADDRESS),
    ("ServiceEntry", "{hosts: [a.com], addresses: [1.2.3.0/24], resolution: DNS}", "spec.addresses", codes.CONFLICT),
    ("ServiceEntry", f"{{hosts: [a.com], ports: [{PORT}, {{number: 80, name: b}}]}}", "spec.ports[1].number", codes.DUPLICATE),
    ("ServiceEntry", "{hosts: [a.com], ports: [{number: 80, name: 'a b'}]}", "spec.ports[0].name", codes.PORT),
    ("ServiceEntry", f"{{hosts: ['*.a.com'], ports: [{PORT}], resolution: DNS}}", "spec.hosts[0]", codes.HOST),
    ("ServiceEntry", "{hosts: [a.com], endpoints: [{address: 1.2.3.4}], resolution: NONE}", "spec.endpoints", codes.CONFLICT),
    ("ServiceEntry", "{hosts: [a.com], endpoints: [{address: b.com}], resolution: STATIC}", "spec.endpoints[0].address", codes.ADDRESS),
    ("ServiceEntry", "{hosts: [a.com], endpoints: [{address: 1.2.3.4, ports: {x: 1}}], resolution: STATIC}", "spec.endpoints[0].ports.x", codes.PORT),
    ("ServiceEntry", "{hosts: [a.com, b.com], addresses: [1.2.3.4], ports: [{number: 90, name: t, protocol: TCP}], resolution: STATIC}", "spec.ports[0].protocol", codes.CONFLICT),
    ("ServiceEntry", "{hosts: ['*.a.com'], ports: [{number: 90, name: t, protocol: TCP}], resolution: DYNAMIC_DNS}", "spec.ports[0].protocol", codes.CONFLICT),
    ("ServiceEntry", "{hosts: [a.com], exportTo: ['~', x]}", "spec.exportTo", codes.CONFLICT),
    # Sidecar
    ("Sidecar", "{egress: [{hosts: [a.com]}]}", "spec.egress[0].hosts[0]", codes.HOST),
    ("Sidecar", "{egress: [{hosts: [./short]}]}", "spec.egress[0].hosts[0]", codes.HOST),
    ("Sidecar", "{egress: [{hosts: ['a*/b.com']}]}", "spec.egress[0].hosts[0]", codes.NAMESPACE),
    ("Sidecar", "{egress: [{hosts: ['*/*']}, {hosts: [./*]}]}", "spec.egress[0]", codes.CONFLICT),
    ("Sidecar", "{ingress: [{port: {number: 80}, defaultEndpoint: '10.0.0.1:80'}]}", "spec.ingress[0].defaultEndpoint", codes.ADDRESS),
    ("Sidecar", "{ingress: [{port: {number: 80}, defaultEndpoint: '127.0.0.1:x'}]}", "spec.ingress[0].defaultEndpoint", codes.PORT),
    ("Sidecar", "{ingress: [{port: {number: 80}, defaultEndpoint: 'unix:///app'}]}", "", ""),
    ("Sidecar", "{ingress: [{port: {number: 80}}, {port: {number: 80}}]}", "spec.ingress[1].port.number", codes.DUPLICATE),
    ("Sidecar", "{egress: [{hosts: ['*/*'], port: {number: 80}, bind: x}]}", "spec.egress[0].bind", codes.ADDRESS),
    ("Sidecar", "{outboundTrafficPolicy: {mode: REGISTRY_ONLY, egressProxy: {host: a.b, port: {number: 80}}}}", "spec.outboundTrafficPolicy.egressProxy", codes.CONFLICT),
    # workloads
    ("WorkloadEntry", "{}", "spec.address", codes.REQUIRED),
    ("WorkloadEntry", "{address: 'unix://relative'}", "spec.address", codes.ADDRESS),
    ("WorkloadEntry", "{address: 1.2.3.4, ports: {http: 70000}}", "spec.ports.http", codes.PORT),
    ("WorkloadGroup", "{template: {}, probe: {tcpSocket: {port: 0}}}", "spec.probe.tcpSocket.port", codes.PORT),
    ("WorkloadGroup", "{template: {ports: {http: 0}}}", "spec.template.ports.http", codes.PORT),
    ("ProxyConfig", "{concurrency: -1}", "spec.concurrency", codes.RANGE),
    # security
    ("PeerAuthentication", "{portLevelMtls: {80: {mode: STRICT}}}", "spec.selector", codes.REQUIRED),
    ("PeerAuthentication", "{selector: {matchLabels: {a: b}}, portLevelMtls: {x: {mode: STRICT}}}", "spec.portLevelMtls.x", codes.PORT),
    ("PeerAuthentication", "{selector: {matchLabels: {a: b}}, portLevelMtls: {}}", "spec.portLevelMtls", codes.TYPE),
    ("AuthorizationPolicy", "{rules: [{}]}", "", ""),
    ("AuthorizationPolicy", "{action: CUSTOM, rules: [{}]}", "spec.provider.name", codes.REQUIRED),
    ("AuthorizationPolicy", "{action: DENY}", "spec.rules", codes.REQUIRED),
    ("AuthorizationPolicy", "{rules: [{to: [{operation: {ports: ['0']}}]}]}", "spec.rules[0].to[0].operation.ports[0]", codes.PORT),
    ("AuthorizationPolicy", "{rules: [{to: [{operation: {paths: ['/a/{**}/b']}}]}]}", "spec.rules[0].to[0].operation.paths[0]", codes.NAME),
    ("AuthorizationPolicy", "{rules: [{when: [{key: 'request.headers[x]'}]}]}", "spec.rules[0].when[0]", codes.REQUIRED),
    ("AuthorizationPolicy", "{rules: [{from: [{source: {serviceAccounts: [a/b/c]}}]}]}", "spec.rules[0].from[0].source.serviceAccounts[0]", codes.NAME),
    ("AuthorizationPolicy", "{targetRefs: [{kind: Service, name: a, namespace: b}]}", "spec.targetRefs[0].namespace", codes.REFERENCE),
    ("RequestAuthentication", "{jwtRules: [{}]}", "spec.jwtRules[0].issuer", codes.REQUIRED),
    ("RequestAuthentication", "{jwtRules: [{issuer: a, jwksUri: 'ftp://a'}]}", "spec.jwtRules[0].jwksUri", codes.ADDRESS),
    ("RequestAuthentication", "{jwtRules: [{issuer: a, jwks: '{}'}]}", "spec.jwtRules[0].jwks", codes.TYPE),
    # telemetry and extensions
    ("Telemetry", "{tracing: [{randomSamplingPercentage: -1}]}", "spec.tracing[0].randomSamplingPercentage", codes.RANGE),
    ("Telemetry", "{metrics: [{overrides: [{tagOverrides: {a: {operation: REMOVE, value: b}}}]}]}", "spec.metrics[0].overrides[0].tagOverrides.a.value", codes.CONFLICT),
    ("Telemetry", "{metrics: [{overrides: [{match: {metric: REQUESTS}}]}]}", "spec.metrics[0].overrides[0].match.metric", codes.TYPE),
    ("WasmPlugin", "{url: 'ftp://a'}", "spec.url", codes.CHOICE),
    ("TrafficExtension", "{lua: {inlineCode: x}, wasm: {url: a}}", "spec", codes.REQUIRED),
    ("EnvoyFilter", "{configPatches: [{applyTo: CLUSTER, match: {listener: {}}, patch: {operation: REMOVE}}]}", "spec.configPatches[0].match.listener", codes.CONFLICT),
    ("EnvoyFilter", "{configPatches: [{applyTo: HTTP_FILTER, match: {listener: {filterChain: {filter: {subFilter: {name: x}}}}}, patch: {operation: REMOVE}}]}", "spec.configPatches[0].match.listener.filterChain.filter.name", codes.REQUIRED),
    ("EnvoyFilter", "{configPatches: [{applyTo: CLUSTER, patch: {operation: MERGE}}]}", "spec.configPatches[0].patch.value", codes.REQUIRED),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "spec", "path", "code"), CASES, ids=range(len(CASES)))
def test_errors(kind: str, spec: str, path: str, code: str) -> None:
    found = [f for f in validation.check(document(kind, spec)) if f.severity == "Error"]
    if not code:
        assert not found, [str(f) for f in found]
        return
    assert (path, code) in [(f.path, f.code) for f in found], [str(f) for f in found]
    assert all(f.text and f.fix for f in found), "an error says what is wrong and what to do"


WARNINGS: list[tuple[str, str, str, str]] = [
    ("VirtualService", f"{{hosts: [a], http: [{{{ROUTE}}}, {{{ROUTE}}}]}}", "spec.http[1]", codes.UNREACHABLE),
    ("VirtualService", f"{{hosts: [a], http: [{{match: [{{uri: {{prefix: /a}}}}], {ROUTE}}}, {{match: [{{uri: {{prefix: /a}}}}], {ROUTE}}}]}}", "spec.http[1]", codes.UNREACHABLE),
    ("VirtualService", f"{{hosts: [a], http: [{{match: [{{uri: {{prefix: /}}}}], {ROUTE}}}, {{match: [{{uri: {{exact: /a}}}}], {ROUTE}}}]}}", "spec.http[1].match[0].uri", codes.UNREACHABLE),
    ("VirtualService", "{hosts: ['*a.com'], tls: [{match: [{sniHosts: ['*a.com']}], route: [{destination: {host: b}}]}]}", "spec.tls[0].match[0].sniHosts[0]", codes.NO_EFFECT),
    ("VirtualService", f"{{hosts: [a], gateways: [g.ns.svc], http: [{{{ROUTE}}}]}}", "spec.gateways[0]", codes.DEPRECATED),
    ("VirtualService", http(f"{ROUTE}, websocketUpgrade: true"), "spec.http[0].websocketUpgrade", codes.DEPRECATED),
    ("VirtualService", http(f"{ROUTE}, timeout: 1s, retries: {{attempts: 1, perTryTimeout: 2s}}"), "spec.http[0].retries.perTryTimeout", codes.NO_EFFECT),
    ("VirtualService", http("directResponse: {status: 200, body: {string: '" + "x" * 100_001 + "'}}"), "spec.http[0].directResponse.body", codes.SIZE),
    ("DestinationRule", "{host: a, trafficPolicy: {outlierDetection: {consecutiveErrors: 5}}}", "spec.trafficPolicy.outlierDetection.consecutiveErrors", codes.DEPRECATED),
    ("DestinationRule", "{host: a, workloadSelector: {matchLabels: {}}}", "spec.workloadSelector", codes.RISKY),
    ("DestinationRule", "{host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {failover: [{from: x, to: y}]}}}}", "spec.trafficPolicy.loadBalancer.localityLbSetting", codes.NO_EFFECT),
    ("Gateway", "{servers: [{port: {number: 443, name: a, protocol: TLS}, hosts: ['*'], tls: {mode: PASSTHROUGH, credentialName: x}}]}", "spec.servers[0].tls.credentialName", codes.NO_EFFECT),
    ("Gateway", "{servers: [{port: {number: 443, name: a, protocol: TLS}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: x, cipherSuites: [FOO]}}]}", "spec.servers[0].tls.cipherSuites[0]", codes.NO_EFFECT),
    ("Gateway", "{servers: [{port: {number: 443, name: a, protocol: TLS}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: x, minProtocolVersion: TLSV1_1}}]}", "spec.servers[0].tls.minProtocolVersion", codes.NO_EFFECT),
    ("EnvoyFilter", "{configPatches: [{applyTo: LISTENER, match: {listener: {filterChain: {filter: {name: x}}}}, patch: {operation: REMOVE}}]}", "spec.configPatches[0].match.listener.filterChain.filter", codes.NO_EFFECT),
    ("ServiceEntry", "{hosts: ['*a.com']}", "spec.hosts[0]", codes.RISKY),
    ("Sidecar", "{egress: [{hosts: [a/*, a/b.com]}]}", "spec.egress[0].hosts[1]", codes.DUPLICATE),
    ("AuthorizationPolicy", "{action: DENY, rules: [{to: [{operation: {methods: [GET]}}]}]}", "spec.rules[0]", codes.RISKY),
    ("Telemetry", "{tracing: [{}, {}]}", "spec.tracing", codes.NO_EFFECT),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "spec", "path", "code"), WARNINGS, ids=range(len(WARNINGS)))
def test_warnings(kind: str, spec: str, path: str, code: str) -> None:
    found = validation.check(document(kind, spec))
    assert not [str(f) for f in found if f.severity == "Error"]
    assert (path, code) in [(f.path, f.code) for f in found]


def test_every_kind_that_has_rules_has_cases() -> None:
    assert {c[0] for c in CASES} == set(validation.KINDS)


def test_all_mistakes_are_found_at_once() -> None:
    spec = http("rout: [], timout: 1s, retries: {attempts: 1, pertrytimeout: 1s}, match: [{uri: {exakt: /}}]")
    found = [f for f in validation.check(document("VirtualService", spec)) if f.code == codes.UNKNOWN_FIELD]
    assert {(f.path, f.fix) for f in found} == {
        ("spec.http[0].rout", "Did you mean 'route'?"),
        ("spec.http[0].timout", "Did you mean 'timeout'?"),
        ("spec.http[0].retries.pertrytimeout", "Did you mean 'perTryTimeout'?"),
        ("spec.http[0].match[0].uri.exakt", "Did you mean 'exact'?"),
    }


def test_wrong_types_are_found_at_once() -> None:
    spec = "{hosts: a.com, http: [{route: [{destination: {host: 5}, weight: x}]}]}"
    found = validation.check(document("VirtualService", spec))
    assert [f.path for f in found if f.code == codes.TYPE] == [
        "spec.hosts",
        "spec.http[0].route[0].destination.host",
        "spec.http[0].route[0].weight",
    ]


def test_annotations_of_the_control_plane_are_not_for_users() -> None:
    made = document(
        "Gateway", f"{{servers: [{{port: {PORT}, hosts: ['*']}}]}}", annotations={"internal.istio.io/x": "y"}
    )
    assert [f.code for f in validation.check(made)] == [codes.RESERVED]


def test_other_kinds_and_odd_metadata_are_left_alone() -> None:
    assert validation.check({"apiVersion": "v1", "kind": "Gateway"}) == ()
    assert validation.check({}) == ()
    assert validation.check({**document("VirtualService", http(ROUTE)), "metadata": 5}) == ()


def test_findings_do_not_change_with_the_way_through_json() -> None:
    made = document("PeerAuthentication", "{selector: {matchLabels: {a: b}}, portLevelMtls: {0: {mode: STRICT}}}")
    assert validation.check(made) == validation.check(json.loads(json.dumps(made)))
