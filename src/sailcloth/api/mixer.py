"""The kinds of Mixer, Istio's policy and telemetry component until 1.7 (config.istio.io). Source: istio.md 1.14."""

from __future__ import annotations

from typing import Annotated, Any

from .meta import D, Object

_ANY = {"x-kubernetes-preserve-unknown-fields": True}


class MixerConfig(Object):
    """Configuration of Mixer (Istio 1.0 to 1.5); quotas, deniers and lists are converted, the rest is stored and has no effect."""

    spec: Annotated[dict[str, Any], D("Configuration, by kind of adapter or template.", extra_json_schema=_ANY)] = {}


CONVERTED = (
    ("rule", "rules"),
    ("handler", "handlers"),
    ("instance", "instances"),
    ("QuotaSpec", "quotaspecs"),
    ("QuotaSpecBinding", "quotaspecbindings"),
    ("memquota", "memquotas"),
    ("redisquota", "redisquotas"),
    ("quota", "quotas"),
    ("denier", "deniers"),
    ("checknothing", "checknothings"),
    ("listchecker", "listcheckers"),
    ("listentry", "listentries"),
)
"""(kind, plural) of the kinds that are converted, as far as they can be."""

STORED = (
    ("adapter", "adapters"),
    ("template", "templates"),
    ("attributemanifest", "attributemanifests"),
    ("HTTPAPISpec", "httpapispecs"),
    ("HTTPAPISpecBinding", "httpapispecbindings"),
    ("prometheus", "prometheuses"),
    ("stdio", "stdios"),
    ("fluentd", "fluentds"),
    ("logentry", "logentries"),
    ("metric", "metrics"),
    ("kubernetesenv", "kubernetesenvs"),
    ("kubernetes", "kuberneteses"),
    ("tracespan", "tracespans"),
    ("opa", "opas"),
    ("authorization", "authorizations"),
)
"""(kind, plural) of the kinds that have no effect."""
