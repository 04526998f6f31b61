"""Load balancing: algorithms, consistent hashing, warm-up, localities."""

from __future__ import annotations

from collections.abc import Sequence

from sailcloth.api.destination_rule import ConsistentHashLB, LoadBalancerSettings, LocalityLbSetting

from . import codes, durations, http
from .report import Report

_LARGEST_TABLE = 5_000_011
_LARGEST_RING = 8_388_608  # Envoy's bound


def check(report: Report, path: str, settings: LoadBalancerSettings | None, outliers: bool) -> None:
    """`outliers`: endpoints that fail are ejected, without which nothing fails over."""
    if settings is None:
        return
    if settings.simple is not None and settings.consistent_hash is not None:
        report.error(codes.CONFLICT, path, "simple and consistentHash exclude each other", "Keep one of them.")
    if settings.consistent_hash is not None:
        _hash(report, f"{path}.consistentHash", settings.consistent_hash)
    _warmup(report, path, settings)
    if settings.locality_lb_setting is not None:
        check_localities(report, f"{path}.localityLbSetting", settings.locality_lb_setting, outliers)


def _hash(report: Report, path: str, found: ConsistentHashLB) -> None:
    keys = {
        "httpHeaderName": found.http_header_name,
        "httpCookie": found.http_cookie,
        "useSourceIp": found.use_source_ip,
        "httpQueryParameterName": found.http_query_parameter_name,
    }
    given = [name for name, value in keys.items() if value is not None]
    if len(given) > 1:
        report.error(codes.CONFLICT, path, f"{' and '.join(given)} exclude each other", "Keep one of them.")
    if found.http_header_name is not None:
        http.check_header(report, f"{path}.httpHeaderName", found.http_header_name, pseudo=True)
    if found.http_cookie is not None:
        if not found.http_cookie.name:
            text = "the cookie has no name"
            report.error(codes.REQUIRED, f"{path}.httpCookie.name", text, "Name the cookie to hash on.")
        durations.check_sign(report, f"{path}.httpCookie.ttl", found.http_cookie.ttl)
    if found.ring_hash is not None and found.maglev is not None:
        report.error(codes.CONFLICT, path, "ringHash and maglev exclude each other", "Keep one of them.")
    for at, size in (
        (f"{path}.minimumRingSize", found.minimum_ring_size),
        (f"{path}.ringHash.minimumRingSize", found.ring_hash.minimum_ring_size if found.ring_hash else None),
    ):
        if size is not None and not 0 <= size <= _LARGEST_RING:
            text = f"{size} is not in the range 0-{_LARGEST_RING}"
            report.error(codes.RANGE, at, text, f"Give 0 to {_LARGEST_RING}; 1024 is used without.")
    if found.minimum_ring_size:
        text = "minimumRingSize is an older form"
        report.warning(codes.DEPRECATED, f"{path}.minimumRingSize", text, "Use ringHash.minimumRingSize.")
    table = found.maglev.table_size if found.maglev is not None else None
    if table and not (table < _LARGEST_TABLE and _prime(table)):
        text = f"table size {table} is no prime number below {_LARGEST_TABLE}"
        report.error(codes.RANGE, f"{path}.maglev.tableSize", text, "Give a prime number, such as 65537.")


def _prime(number: int) -> bool:
    return number > 1 and all(number % d for d in range(2, int(number**0.5) + 1))


def _warmup(report: Report, path: str, settings: LoadBalancerSettings) -> None:
    warmup = settings.warmup
    if settings.warmup_duration_secs is not None and warmup is not None:
        report.error(codes.CONFLICT, path, "warmupDurationSecs and warmup exclude each other", "Keep warmup.")
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
    for field, found in (("failover", setting.failover), ("failoverPriority", setting.failover_priority)):
        if setting.distribute and found:
            report.error(codes.CONFLICT, path, f"distribute and {field} exclude each other", "Keep one of them.")
    sources = []
    for index, one in enumerate(setting.distribute):
        at = f"{path}.distribute[{index}]"
        sources.append(one.from_)
        _locality(report, f"{at}.from", one.from_)
        for name, weight in one.to.items():
            _locality(report, f"{at}.to", name)
            if not 1 <= weight <= 100:
                text = f"weight {weight} of {name!r} is not in the range 1-100"
                report.error(codes.WEIGHT, f"{at}.to.{name}", text, "Give 1 to 100, or remove the locality.")
        total = sum(one.to.values())
        if total != 100:
            report.error(codes.WEIGHT, f"{at}.to", f"the weights are {total} in sum, not 100", "Make them 100 in sum.")
        _overlap(report, f"{at}.to", list(one.to))
    _overlap(report, f"{path}.distribute", sources)
    for index, pair in enumerate(setting.failover):
        at = f"{path}.failover[{index}]"
        if pair.from_ == pair.to:
            text = f"{pair.from_!r} fails over to itself"
            report.error(codes.CONFLICT, at, text, "Name another region in to.")
        for side, region in (("from", pair.from_), ("to", pair.to)):
            if "/" in region or "*" in region:
                text = f"{region!r} is more than a region"
                report.error(codes.NAME, f"{at}.{side}", text, "Give the region alone, such as us-east.")
    if (setting.failover or setting.failover_priority) and not outliers:
        text = "nothing fails over without outlierDetection, which finds out what has failed"
        report.warning(codes.NO_EFFECT, path, text, "Give the policy an outlierDetection.")


def _locality(report: Report, path: str, locality: str) -> None:
    parts = locality.split("/")
    if not 1 <= len(parts) <= 3 or not all(parts):
        report.error(codes.NAME, path, f"{locality!r} is no locality", "Write region/zone/subzone, or less of it.")
    elif any("*" in p for p in parts[:-1]) or ("*" in parts[-1] and parts[-1] != "*"):
        report.error(codes.NAME, path, f"{locality!r}: a wildcard must be the last part", "Write region/zone/*.")


def _overlap(report: Report, path: str, localities: Sequence[str]) -> None:
    """Two localities of which one holds the other leave it open which weight counts."""
    for index, one in enumerate(localities):
        for other in localities[:index]:
            short, long = sorted((one.removesuffix("*").rstrip("/"), other.removesuffix("*").rstrip("/")), key=len)
            if short == long or not short or long.startswith(short + "/"):
                report.error(codes.DUPLICATE, path, f"{other!r} and {one!r} overlap", "Remove one of them.")
