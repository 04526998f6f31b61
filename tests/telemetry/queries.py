"""Expressions: those of Istio's dashboards and of Kiali, Grafana's metadata queries, one for each function, and random ones."""

from __future__ import annotations

import random

_ISTIO_MESH = """
round(sum(irate(istio_requests_total{reporter=~"source|waypoint"}[1m])), 0.01)
sum(rate(istio_requests_total{reporter=~"source|waypoint", response_code!~"5.*"}[1m])) / sum(rate(istio_requests_total{reporter=~"source|waypoint"}[1m]))
sum(irate(istio_requests_total{reporter=~"source|waypoint", response_code=~"4.*"}[1m])) or vector(0)
round(sum(irate(istio_requests_total{reporter=~"source|waypoint", response_code=~"5.*"}[1m])) or vector(0), 0.01)
label_join(sum(rate(istio_requests_total{reporter=~"source|waypoint", response_code="200"}[1m])) by (destination_workload, destination_workload_namespace, destination_service), "destination_workload_var", ".", "destination_workload", "destination_workload_namespace")
label_join((sum(rate(istio_requests_total{reporter=~"source|waypoint", response_code="200"}[1m])) by (destination_workload, destination_workload_namespace) / sum(rate(istio_requests_total{reporter=~"source|waypoint"}[1m])) by (destination_workload, destination_workload_namespace)), "destination_workload_var", ".", "destination_workload", "destination_workload_namespace")
label_join(histogram_quantile(0.50, sum(rate(istio_request_duration_milliseconds_bucket{reporter=~"source|waypoint"}[1m])) by (le, destination_workload, destination_workload_namespace)), "destination_workload_var", ".", "destination_workload", "destination_workload_namespace")
label_join(histogram_quantile(0.90, sum(rate(istio_request_duration_milliseconds_bucket{reporter=~"source|waypoint"}[1m])) by (le, destination_workload, destination_workload_namespace)), "destination_workload_var", ".", "destination_workload", "destination_workload_namespace")
label_join(histogram_quantile(0.99, sum(rate(istio_request_duration_milliseconds_bucket{reporter=~"source|waypoint"}[1m])) by (le, destination_workload, destination_workload_namespace)), "destination_workload_var", ".", "destination_workload", "destination_workload_namespace")
label_join(sum(rate(istio_tcp_received_bytes_total{reporter=~"source|waypoint"}[1m])) by (destination_workload, destination_workload_namespace, destination_service), "destination_workload_var", ".", "destination_workload", "destination_workload_namespace")
sum(istio_build) by (component, tag)
"""
_ISTIO_SERVICE = """
round(sum(irate(istio_requests_total{reporter=~"source",destination_service=~"reviews.default.svc.cluster.local"}[5m])), 0.001)
sum(irate(istio_requests_total{reporter=~"destination",destination_service=~"reviews.default.svc.cluster.local",response_code!~"5.*"}[5m])) / sum(irate(istio_requests_total{reporter=~"destination",destination_service=~"reviews.default.svc.cluster.local"}[5m]))
(histogram_quantile(0.50, sum(irate(istio_request_duration_milliseconds_bucket{reporter=~"source",destination_service=~"reviews.default.svc.cluster.local"}[1m])) by (le)) / 1000) or histogram_quantile(0.50, sum(irate(istio_request_duration_seconds_bucket{reporter=~"source",destination_service=~"reviews.default.svc.cluster.local"}[1m])) by (le))
(histogram_quantile(0.99, sum(irate(istio_request_duration_milliseconds_bucket{reporter=~"source",destination_service=~"reviews.default.svc.cluster.local"}[1m])) by (le)) / 1000)
sum(irate(istio_tcp_received_bytes_total{reporter=~"source", destination_service=~"mongodb.default.svc.cluster.local"}[1m]))
round(sum(irate(istio_requests_total{connection_security_policy="mutual_tls",destination_service=~"reviews.default.svc.cluster.local",reporter=~"destination",source_workload=~".*",source_workload_namespace=~"default"}[5m])) by (source_workload, source_workload_namespace, response_code), 0.001)
round(sum(irate(istio_requests_total{connection_security_policy!="mutual_tls", destination_service=~"reviews.default.svc.cluster.local", reporter=~"source|waypoint", source_workload=~".*"}[5m])) by (source_workload, source_workload_namespace, response_code), 0.001)
sum(irate(istio_requests_total{reporter=~"destination",connection_security_policy="mutual_tls",response_code!~"5.*"}[5m])) by (source_workload, source_workload_namespace) / sum(irate(istio_requests_total{reporter=~"destination",connection_security_policy="mutual_tls"}[5m])) by (source_workload, source_workload_namespace)
histogram_quantile(0.95, sum(irate(istio_response_bytes_bucket{connection_security_policy="mutual_tls"}[1m])) by (source_workload, source_workload_namespace, le))
histogram_quantile(0.95, sum(irate(istio_request_bytes_bucket[1m])) by (source_workload, source_workload_namespace, le))
round(sum(irate(istio_tcp_sent_bytes_total{connection_security_policy!="mutual_tls", reporter=~"source"}[1m])) by (source_workload, source_workload_namespace), 0.001)
label_values_dummy or sum(istio_requests_total{}) by (destination_service) or sum(istio_tcp_sent_bytes_total{}) by (destination_service)
"""
_ISTIO_WORKLOAD = """
round(sum(irate(istio_requests_total{reporter="destination",destination_workload_namespace=~"default",destination_workload=~"reviews-v1"}[5m])), 0.001)
(histogram_quantile(0.90, sum(irate(istio_request_duration_milliseconds_bucket{reporter=~"destination",destination_workload=~"reviews-v2", destination_workload_namespace=~"default"}[1m])) by (le)) / 1000)
round(sum(irate(istio_requests_total{connection_security_policy="mutual_tls", destination_workload_namespace=~"default", destination_workload=~"details-v1", reporter=~"destination"}[5m])) by (source_workload, source_workload_namespace, response_code), 0.001)
round(sum(irate(istio_requests_total{source_workload_namespace=~"default", source_workload=~"productpage-v1", reporter=~"source", destination_service=~".*"}[5m])) by (destination_service, response_code), 0.001)
sum(irate(istio_requests_total{reporter=~"source", response_code!~"5.*", source_workload="productpage-v1"}[5m])) by (destination_service) / sum(irate(istio_requests_total{reporter=~"source", source_workload="productpage-v1"}[5m])) by (destination_service)
round(sum(irate(istio_tcp_received_bytes_total{reporter="source", source_workload=~"ratings-v1"}[1m])) by (destination_service), 0.001)
"""
_ISTIO_CONTROL = """
(sum(irate(container_cpu_usage_seconds_total{pod=~"istiod-.*",container="istio-proxy"}[1m])) by (pod))
process_virtual_memory_bytes{app="istiod"}
process_resident_memory_bytes{app="istiod"}
sum by (pod) (irate(process_cpu_seconds_total{app="istiod"}[1m]))
go_goroutines{app="istiod"}
sum by (type) (irate(pilot_xds_pushes{}[1m]))
sum(irate(pilot_xds_pushes{type="cds"}[1m]))
sum(pilot_total_xds_rejects) by (type) or (absent(pilot_total_xds_rejects) - 1)
sum by (type) (rate(pilot_total_xds_rejects[5m]))
sum(pilot_xds) by (version)
sum(rate(pilot_proxy_convergence_time_bucket[1m])) by (le)
histogram_quantile(0.99, sum(rate(pilot_proxy_convergence_time_bucket[1m])) by (le))
pilot_services{}
sum(rate(galley_validation_passed[5m])) or vector(0)
sum(rate(sidecar_injection_success_total[5m])) / 60
(sum(rate(container_cpu_usage_seconds_total{container="istio-proxy"}[1m])) / (round(sum(irate(istio_requests_total[1m])), 0.001)/1000))/ (sum(irate(istio_requests_total{source_workload="istio-ingressgateway"}[1m])) >bool 10)
sum(envoy_cluster_upstream_cx_active{cluster_name="xds-grpc"}) by (pod)
sum(process_resident_memory_bytes) by (app) / count(process_resident_memory_bytes) by (app)
sum(irate(istio_response_bytes_sum{source_workload="istio-ingressgateway", reporter="source"}[1m])) + sum(irate(istio_response_bytes_sum{source_workload_namespace!="istio-system", reporter="source"}[1m]))
"""
_KIALI_G = (
    "source_cluster,source_workload_namespace,source_workload,source_canonical_service,source_canonical_revision,"
    "destination_cluster,destination_service_namespace,destination_service,destination_service_name,"
    "destination_workload_namespace,destination_workload,destination_canonical_service,destination_canonical_revision"
)
_KIALI = f"""
sum(rate(istio_requests_total{{reporter="source",source_workload_namespace!="default",destination_workload_namespace="unknown",destination_workload="unknown",destination_service=~"^.+\\\\.default\\\\..+$"}}[60s])) by ({_KIALI_G},request_protocol,response_code,grpc_response_status,response_flags) > 0
sum(rate(istio_requests_total{{reporter="destination",destination_workload_namespace="default"}}[60s])) by ({_KIALI_G},request_protocol,response_code,grpc_response_status,response_flags) > 0
sum(rate(istio_requests_total{{reporter="source",source_workload_namespace="default"}}[300s])) by ({_KIALI_G},request_protocol,response_code,grpc_response_status,response_flags)
sum(rate(istio_tcp_sent_bytes_total{{app!="ztunnel",reporter="source",source_workload_namespace="default"}}[60s])) by (app,{_KIALI_G},response_flags) > 0
histogram_quantile(0.95, sum(rate(istio_request_duration_milliseconds_bucket{{reporter="destination",destination_service_namespace="default"}}[60s])) by (le,{_KIALI_G}))
sum(rate(istio_request_duration_milliseconds_sum{{reporter="source"}}[60s])) by ({_KIALI_G}) / sum(rate(istio_request_duration_milliseconds_count{{reporter="source"}}[60s])) by ({_KIALI_G}) > 0
sum(rate(istio_requests_total{{reporter="destination"}}[60s])) by ({_KIALI_G},source_principal,destination_principal,connection_security_policy) > 0
round(topk(6, histogram_quantile(0.95, sum(rate(istio_request_duration_milliseconds_bucket{{destination_workload!="unknown"}}[5m])) by (le,destination_cluster,destination_service_namespace,destination_service_name)) > 0), 0.001)
rate(istio_requests_total{{destination_service_namespace="default",source_workload_namespace!="bookinfo",destination_cluster="Kubernetes"}}[5m]) > 0
rate(istio_requests_total{{source_workload_namespace="default"}}[5m]) > 0
rate(istio_requests_total{{destination_service_name="reviews",destination_cluster=~"Kubernetes|unknown"}}[5m])
sum(rate(istio_requests_total{{source_workload="productpage-v1",response_code=~"^0$|^[4-5]\\\\d\\\\d$"}}[1m])) by (destination_service) OR sum(rate(istio_requests_total{{grpc_response_status=~"^[1-9]$|^1[0-6]$"}}[1m])) by (destination_service)
count({{pod=~"istiod.*"}}) by (__name__)
delta(pilot_proxy_convergence_time_sum[5m]) / delta(pilot_proxy_convergence_time_count[5m])
max(sum(rate(istio_requests_total{{reporter="source"}}[2m])) by (destination_service)) without (reporter)
"""
_FUNCTIONS = """
up
up == 0
-up
+up
sum(up) by (job)
count(up == 1) by (namespace)
{__name__=~"istio_.*_total", reporter!~"source|x"}
{job="istiod"}
istio_requests_total offset 5m
istio_requests_total @ 1700000600
rate(istio_requests_total[2m] @ 1700000600 offset 30s)
sum(rate(istio_requests_total[1m] offset -1m)) by (pod)
sum(increase(istio_requests_total[3m])) by (destination_workload)
increase(istio_request_duration_milliseconds_sum[2m])
delta(process_resident_memory_bytes[3m])
idelta(process_resident_memory_bytes[3m])
irate(istio_tcp_sent_bytes_total[5m])
deriv(process_resident_memory_bytes[5m])
deriv(up[5m])
predict_linear(process_resident_memory_bytes[5m], 600)
resets(istio_requests_total[20m])
changes(up[15m])
changes(process_resident_memory_bytes[1m])
avg_over_time(process_resident_memory_bytes[2m])
min_over_time(process_resident_memory_bytes[2m])
max_over_time(process_resident_memory_bytes[2m])
sum_over_time(process_resident_memory_bytes[2m])
count_over_time(istio_requests_total[4m])
last_over_time(istio_requests_total[10m])
present_over_time(istio_requests_total[10m])
stddev_over_time(process_resident_memory_bytes[2m])
stdvar_over_time(process_resident_memory_bytes[2m])
quantile_over_time(0.9, process_resident_memory_bytes[3m])
quantile_over_time(scalar(sum(up)) / 8, process_resident_memory_bytes[3m])
absent(up)
absent(nothing{a="b", c=~"d", e="f", e="g"})
absent(sum(nothing))
absent_over_time(nothing{a="b"}[5m])
absent_over_time(up[5m])
avg(process_resident_memory_bytes) by (app)
min(process_resident_memory_bytes)
max(process_resident_memory_bytes) without (pod, instance, version)
stddev(process_resident_memory_bytes)
stdvar(process_resident_memory_bytes) by (job)
group(istio_requests_total) by (pod)
topk(3, process_resident_memory_bytes)
bottomk(2, process_resident_memory_bytes) by (job)
topk(1, process_resident_memory_bytes) by (app)
topk(0, up)
quantile(0.25, process_resident_memory_bytes) by (job)
quantile(1.5, process_resident_memory_bytes)
quantile(-1, process_resident_memory_bytes)
count_values("value", up)
count_values("value", ceil(process_resident_memory_bytes / 1000)) by (job)
count_values without (pod, instance) ("app", up)
histogram_quantile(0, sum(rate(istio_response_bytes_bucket[5m])) by (le))
histogram_quantile(1, sum(rate(istio_response_bytes_bucket[5m])) by (le))
histogram_quantile(2, sum(rate(istio_response_bytes_bucket[5m])) by (le))
histogram_quantile(0.5, istio_response_bytes_bucket)
histogram_quantile(0.7, rate(istio_request_duration_milliseconds_bucket[1m]))
histogram_quantile(0.7, istio_request_duration_milliseconds_bucket{le!="+Inf"})
histogram_quantile(scalar(up{job="istiod"}) / 2, sum by (le) (istio_response_bytes_bucket))
sum(istio_request_duration_milliseconds_bucket{le="100"}) / sum(istio_request_duration_milliseconds_count)
process_resident_memory_bytes % 7
process_resident_memory_bytes ^ 2
2 ^ 3 ^ 2
1 / 0
-1 / 0
0 / 0
process_resident_memory_bytes > bool 2000
process_resident_memory_bytes >= 2000 <= 2500
2000 < process_resident_memory_bytes
1000 + process_resident_memory_bytes * 2 - 1
1 == bool 1
process_resident_memory_bytes == process_resident_memory_bytes
process_resident_memory_bytes > bool process_virtual_memory_bytes
process_resident_memory_bytes - ignoring(app) process_virtual_memory_bytes
istio_requests_total / on(pod) group_left(version, app) up
sum(istio_requests_total) by (pod, response_code) * on (pod) group_left (app) process_resident_memory_bytes
up * on (pod) group_right () sum(istio_requests_total) by (pod, response_code)
sum(istio_requests_total) by (pod) == on (pod) sum(istio_requests_total) by (pod)
istio_requests_total + istio_requests_total
istio_requests_total * on (pod) up
up * on (job) group_left process_resident_memory_bytes
label_replace(sum(istio_requests_total) by (pod), "about", "$1", "pod", "(.*)") * on (about) group_left (phase) workload_info
label_replace(sum(istio_requests_total) by (pod), "about", "$1", "pod", "(.*)") * on (about) workload_info
workload_info * on (about) group_right () label_replace(sum(up) by (pod), "about", "$1", "pod", "(.*)")
sum(workload_info offset 10m) by (about) == on (about) sum(workload_info) by (about)
up and on (pod) istio_requests_total
up unless on (pod) istio_requests_total
up or process_resident_memory_bytes
up{job="istiod"} or on (nothing) process_resident_memory_bytes
istio_requests_total and up
up and ignoring(pod, instance, app, version, namespace, job) vector(1)
abs(process_resident_memory_bytes - 2000)
ceil(process_resident_memory_bytes)
floor(process_resident_memory_bytes)
round(process_resident_memory_bytes)
round(process_resident_memory_bytes, 10)
round(-process_resident_memory_bytes, 0.3)
clamp(process_resident_memory_bytes, 1500, 2500)
clamp(process_resident_memory_bytes, 2500, 1500)
clamp_min(process_resident_memory_bytes, 2000)
clamp_max(process_resident_memory_bytes, 2000)
exp(up)
ln(process_resident_memory_bytes)
ln(up - 1)
log2(process_resident_memory_bytes)
log10(process_resident_memory_bytes)
sqrt(process_resident_memory_bytes)
sqrt(-process_resident_memory_bytes)
sgn(process_resident_memory_bytes - 2000)
sin(process_resident_memory_bytes)
deg(up) + rad(up) + pi()
abs(process_resident_memory_bytes atan2 process_resident_memory_bytes)
time()
time() - timestamp(up)
timestamp(process_resident_memory_bytes)
timestamp(sum(up))
minute()
hour()
day_of_week()
day_of_month(vector(1700000000))
day_of_year(vector(1700000000))
days_in_month(vector(1709000000))
month() + year()
minute(timestamp(up))
vector(time())
scalar(up)
scalar(up{job="istiod"})
scalar(nothing)
"a string"
sort(process_resident_memory_bytes)
sort_desc(process_resident_memory_bytes)
label_replace(up, "service", "$1-x", "pod", "(.*)-v.*")
label_replace(up, "service", "${1}", "pod", "(?P<one>[a-z]+)-.*")
label_replace(up, "service", "$one", "pod", "(?P<one>[a-z]+)-.*")
label_replace(up, "pod", "", "pod", ".*")
label_replace(up, "instance", "same", "pod", "nothing")
label_replace(sum(up) by (pod), "pod", "all", "", "")
label_replace(up, "bad-name", "x", "pod", ".*")
label_replace(up, "x", "y", "pod", "(")
label_join(up, "joined", "/", "namespace", "pod", "absent")
label_join(up, "pod", "")
max_over_time(rate(istio_requests_total[1m])[5m:30s])
avg_over_time(sum(rate(istio_requests_total[1m]))[5m:])
sum_over_time(up[10m:1m] offset 2m)
rate(sum(istio_requests_total)[5m:20s])
quantile_over_time(0.5, up[5m:17s])
min_over_time((up == 1)[5m:1m])
max_over_time(up[5m:1m] @ end())
rate(istio_requests_total[5m] @ start())
count_over_time(vector(1)[5m:13s])
last_over_time(up[3m:45s])
max_over_time(time()[5m:30s])
rate(nothing[5m])
sum(nothing)
sum by (nothing) (up)
nothing + up
up{pod=""}
up{pod!=""}
up{pod=~""}
up{pod=~".+"}
up{pod=~"ratings|details"}
up{nothing=""}
up{nothing!="x"}
up{pod!~".*v1.*"}
sum(rate(istio_requests_total[1m])) without (pod, instance, version, app)
avg without () (up)
rate(up)
sum(1)
up[5m]
1 + "x"
foo(
"""


def written() -> list[str]:
    """The hand-written expressions."""
    parts = (_ISTIO_MESH, _ISTIO_SERVICE, _ISTIO_WORKLOAD, _ISTIO_CONTROL, _KIALI, _FUNCTIONS)
    return [line for part in parts for line in part.splitlines() if line]


KIALI_LABELS = frozenset(_KIALI_G.split(","))
"""Labels of an edge in Kiali's graph."""


def grafana() -> list[str]:
    """What Istio's dashboards ask."""
    parts = (_ISTIO_MESH, _ISTIO_SERVICE, _ISTIO_WORKLOAD, _ISTIO_CONTROL)
    return [line for part in parts for line in part.splitlines() if line]


def kiali(namespace: str) -> list[str]:
    """What Kiali asks about a namespace."""
    return [line.replace("default", namespace) for line in _KIALI.splitlines() if line]


_METRICS = [
    "up",
    "istio_requests_total",
    "istio_request_duration_milliseconds_sum",
    "istio_request_duration_milliseconds_count",
    "istio_tcp_sent_bytes_total",
    "process_resident_memory_bytes",
    "pilot_xds_pushes",
]
_NAMES = ["pod", "app", "job", "response_code", "destination_workload", "reporter", "source_workload", "type"]
_CONDITIONS = [
    'job="istiod"',
    'reporter="source"',
    'response_code!="200"',
    'pod=~"reviews.*"',
    'app!~"r.*s|details"',
    'destination_workload=~".*v1"',
]
_RANGES = ["rate", "increase", "irate", "delta", "idelta", "avg_over_time", "max_over_time", "min_over_time"]
_RANGES += ["sum_over_time", "count_over_time", "changes", "resets", "last_over_time", "stddev_over_time", "deriv"]
_AGGREGATIONS = ["sum", "avg", "count", "min", "max", "group", "stddev"]


class Generator:
    """Random expressions over the grammar."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def selector(self, metric: str | None = None) -> str:
        r = self.random
        conditions = ",".join(r.sample(_CONDITIONS, r.choice([0, 0, 1, 1, 2])))
        return (metric or r.choice(_METRICS)) + (f"{{{conditions}}}" if conditions else "")

    def modifiers(self) -> str:
        return self.random.choice(["", "", "", " offset 90s", " offset -30s", " @ 1700000700", " @ end()"])

    def labels(self, most: int = 3) -> str:
        return ", ".join(self.random.sample(_NAMES, self.random.randrange(most + 1)))

    def vector(self, depth: int) -> str:
        r = self.random
        kind = r.choice(["selector", "range", "aggregate", "aggregate", "binary", "function", "subquery"])
        if depth <= 0 or kind == "selector":
            return self.selector() + self.modifiers()
        if kind == "range":
            window = r.choice(["30s", "1m", "2m", "5m", "13m"])
            return f"{r.choice(_RANGES)}({self.selector()}[{window}]{self.modifiers()})"
        if kind == "aggregate":
            how = r.choice(["by", "without"])
            return f"{r.choice(_AGGREGATIONS)} {how} ({self.labels()}) ({self.vector(depth - 1)})"
        if kind == "function":
            if r.random() < 0.5:  # these jump, and would show differences in the last digit of their argument
                return f"{r.choice(['ceil', 'floor', 'round', 'hour'])}({self.selector()})"
            return f"{r.choice(['abs', 'sqrt', 'ln', 'sgn', 'timestamp', '-'])}({self.vector(depth - 1)})"
        if kind == "subquery":
            name = r.choice(["max_over_time", "avg_over_time", "sum_over_time", "count_over_time", "delta"])
            return f"{name}(({self.vector(depth - 1)})[{r.choice(['2m', '5m'])}:{r.choice(['20s', '1m', '7s'])}])"
        return self.binary(depth)

    def binary(self, depth: int) -> str:
        r = self.random
        if r.random() < 0.3:
            op = r.choice(["+", "-", "*", "/", ">", "<=", "== bool", "!=", "> bool", "^"])
            sides = [f"({self.vector(depth - 1)})", r.choice(["2", "0", "-1.5", "1000"])]
            r.shuffle(sides)
            return f"{sides[0]} {op} {sides[1]}"
        op = r.choice(["+", "-", "*", "/", ">", "==", "< bool", "and", "or", "unless"])
        matching = r.choice(["", f"on ({self.labels(2)})", f"ignoring ({self.labels(2)})"])
        if op not in ("and", "or", "unless") and matching and r.random() < 0.5:
            matching += r.choice([" group_left ()", " group_right ()", " group_left (app)"])
        return f"({self.vector(depth - 1)}) {op} {matching} ({self.vector(depth - 1)})"


def generated(count: int, seed: int) -> list[str]:
    """Random expressions."""
    generator = Generator(seed)
    return [generator.vector(3) for _ in range(count)]
