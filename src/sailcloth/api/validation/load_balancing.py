"""Validates load balancing: algorithms, consistent hashing, warm-up, localities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sailcloth.api.destination_rule import (
    BackendUtilization,
    ConsistentHashLB,
    LoadBalancerSettings,
    LocalityFailover,
    LocalityLbSetting,
)

from . import codes, durations, http
from .report import Report

_LARGEST_TABLE = 5_000_011
_LARGEST_RING = 8_388_608  # Envoy's limit


def check(report: Report, path: str, settings: LoadBalancerSettings | None, outliers: bool) -> None:
    """`outliers`: whether the policy has outlier detection, which failover needs."""
    if settings is None:
        return
    algorithms = {
        "simple": settings.simple,
        "consistentHash": settings.consistent_hash,
        "backendUtilization": settings.backend_utilization,
    }
    _one_of(report, path, algorithms)
    _one_of(
        report,
        path,
        {"localityLbSetting": settings.locality_lb_setting, "zoneAwareLbSetting": settings.zone_aware_lb_setting},
    )
    if settings.backend_utilization is not None:
        _utilization(report, f"{path}.backendUtilization", settings.backend_utilization)
    if settings.consistent_hash is not None:
        _hash(report, f"{path}.consistentHash", settings.consistent_hash)
    _warmup(report, path, settings)
    if settings.locality_lb_setting is not None:
        check_localities(report, f"{path}.localityLbSetting", settings.locality_lb_setting, outliers)
    zone_aware = settings.zone_aware_lb_setting
    if zone_aware is not None:
        at = f"{path}.zoneAwareLbSetting"
        _failover(report, at, zone_aware.failover)
        _needs_outliers(report, at, bool(zone_aware.failover or zone_aware.failover_priority), outliers)
        if zone_aware.min_cluster_size is not None and zone_aware.min_cluster_size < 1:
            text = f"{zone_aware.min_cluster_size} is less than 1"
            report.error(codes.RANGE, f"{at}.minClusterSize", text, "Give at least 1.")


def _one_of(report: Report, path: str, fields: Mapping[str, object]) -> None:
    names = [name for name, value in fields.items() if value is not None]
    if len(names) > 1:
        report.error(codes.CONFLICT, path, f"{' and '.join(names)} are mutually exclusive", "Keep one of them.")


def _utilization(report: Report, path: str, settings: BackendUtilization) -> None:
    for name, text in (
        ("weightUpdatePeriod", settings.weight_update_period),
        ("weightStabilizationPeriod", settings.weight_stabilization_period),
        ("weightExpirationPeriod", settings.weight_expiration_period),
    ):
        durations.check(report, f"{path}.{name}", text)
    penalty = settings.error_utilization_penalty_percent
    if penalty is not None and not 0 <= penalty < 2**32:
        text = f"{penalty} is not in the range 0-{2**32 - 1}"
        report.error(codes.RANGE, f"{path}.errorUtilizationPenaltyPercent", text, "Give 100 for the whole utilization.")


def _hash(report: Report, path: str, consistent_hash: ConsistentHashLB) -> None:
    keys: Mapping[str, object] = {
        "httpHeaderName": consistent_hash.http_header_name,
        "httpCookie": consistent_hash.http_cookie,
        "useSourceIp": consistent_hash.use_source_ip,
        "httpQueryParameterName": consistent_hash.http_query_parameter_name,
    }
    _one_of(report, path, keys)
    if consistent_hash.http_header_name is not None:
        http.check_header(report, f"{path}.httpHeaderName", consistent_hash.http_header_name, pseudo=True)
    if consistent_hash.http_cookie is not None:
        if not consistent_hash.http_cookie.name:
            text = "the cookie has no name"
            report.error(codes.REQUIRED, f"{path}.httpCookie.name", text, "Name the cookie to hash on.")
        durations.check_sign(report, f"{path}.httpCookie.ttl", consistent_hash.http_cookie.ttl)
    if consistent_hash.ring_hash is not None and consistent_hash.maglev is not None:
        report.error(codes.CONFLICT, path, "ringHash and maglev are mutually exclusive", "Keep one of them.")
    for at, size in (
        (f"{path}.minimumRingSize", consistent_hash.minimum_ring_size),
        (
            f"{path}.ringHash.minimumRingSize",
            consistent_hash.ring_hash.minimum_ring_size if consistent_hash.ring_hash else None,
        ),
    ):
        if size is not None and not 0 <= size <= _LARGEST_RING:
            text = f"{size} is not in the range 0-{_LARGEST_RING}"
            report.error(codes.RANGE, at, text, f"Give 0 to {_LARGEST_RING}; 1024 is used without.")
    if consistent_hash.minimum_ring_size:
        text = "minimumRingSize is deprecated"
        report.warning(codes.DEPRECATED, f"{path}.minimumRingSize", text, "Use ringHash.minimumRingSize.")
    table = consistent_hash.maglev.table_size if consistent_hash.maglev is not None else None
    if table and not (table < _LARGEST_TABLE and _prime(table)):
        text = f"table size {table} is not a prime number below {_LARGEST_TABLE}"
        report.error(codes.RANGE, f"{path}.maglev.tableSize", text, "Give a prime number, such as 65537.")


def _prime(number: int) -> bool:
    return number > 1 and all(number % d for d in range(2, int(number**0.5) + 1))


def _warmup(report: Report, path: str, settings: LoadBalancerSettings) -> None:
    warmup = settings.warmup
    if settings.warmup_duration_secs is not None and warmup is not None:
        report.error(codes.CONFLICT, path, "warmupDurationSecs and warmup are mutually exclusive", "Keep warmup.")
    durations.check(report, f"{path}.warmupDurationSecs", settings.warmup_duration_secs)
    if warmup is None:
        return
    at = f"{path}.warmup"
    durations.check(report, f"{at}.duration", warmup.duration)
    if warmup.minimum_percent is not None and not 0 <= warmup.minimum_percent <= 100:
        text = f"{warmup.minimum_percent} is not in the range 0-100"
        report.error(codes.RANGE, f"{at}.minimumPercent", text, "Give 0 to 100.")
    if warmup.aggression is not None and warmup.aggression < 1:
        report.error(codes.RANGE, f"{at}.aggression", f"{warmup.aggression} is less than 1", "Give at least 1.0.")


def check_localities(report: Report, path: str, setting: LocalityLbSetting, outliers: bool) -> None:
    """Distribution and failover between localities."""
    for field, entries in (("failover", setting.failover), ("failoverPriority", setting.failover_priority)):
        if setting.distribute and entries:
            report.error(codes.CONFLICT, path, f"distribute and {field} are mutually exclusive", "Keep one of them.")
    sources = []
    for index, entry in enumerate(setting.distribute):
        at = f"{path}.distribute[{index}]"
        sources.append(entry.from_)
        _locality(report, f"{at}.from", entry.from_)
        for name, weight in entry.to.items():
            _locality(report, f"{at}.to", name)
            if not 1 <= weight <= 100:
                text = f"weight {weight} of {name!r} is not in the range 1-100"
                report.error(codes.WEIGHT, f"{at}.to.{name}", text, "Give 1 to 100, or remove the locality.")
        total = sum(entry.to.values())
        if total != 100:
            report.error(
                codes.WEIGHT,
                f"{at}.to",
                f"the sum of the weights is {total}, not 100",
                "Change them so that the sum is 100.",
            )
        _overlap(report, f"{at}.to", list(entry.to))
    _overlap(report, f"{path}.distribute", sources)
    _failover(report, path, setting.failover)
    _needs_outliers(report, path, bool(setting.failover or setting.failover_priority), outliers)


def _failover(report: Report, path: str, failover: tuple[LocalityFailover, ...]) -> None:
    for index, pair in enumerate(failover):
        at = f"{path}.failover[{index}]"
        if pair.from_ == pair.to:
            text = f"{pair.from_!r} fails over to itself"
            report.error(codes.CONFLICT, at, text, "Name another region in to.")
        for end, region in (("from", pair.from_), ("to", pair.to)):
            if "/" in region or "*" in region:
                text = f"{region!r} is more than a region"
                report.error(codes.NAME, f"{at}.{end}", text, "Give the region alone, such as us-east.")


def _needs_outliers(report: Report, path: str, fails_over: bool, outliers: bool) -> None:
    if fails_over and not outliers:
        text = "failover needs outlierDetection, which detects failed endpoints"
        report.warning(codes.NO_EFFECT, path, text, "Give the policy an outlierDetection.")


def _locality(report: Report, path: str, locality: str) -> None:
    parts = locality.split("/")
    if not 1 <= len(parts) <= 3 or not all(parts):
        report.error(codes.NAME, path, f"{locality!r} is not a locality", "Write region/zone/subzone, or less of it.")
    elif any("*" in p for p in parts[:-1]) or ("*" in parts[-1] and parts[-1] != "*"):
        report.error(codes.NAME, path, f"{locality!r}: a wildcard must be the last part", "Write region/zone/*.")


def _overlap(report: Report, path: str, localities: Sequence[str]) -> None:
    """Localities that overlap, so that an endpoint's weight is ambiguous."""
    for index, locality in enumerate(localities):
        for earlier in localities[:index]:
            short, long = sorted(
                (locality.removesuffix("*").rstrip("/"), earlier.removesuffix("*").rstrip("/")), key=len
            )
            if short == long or not short or long.startswith(short + "/"):
                report.error(codes.DUPLICATE, path, f"{earlier!r} and {locality!r} overlap", "Remove one of them.")
