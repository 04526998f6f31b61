"""What each feature makes of a user's YAML, as files to read; and real Envoy accepts every one of them.

A case is a folder: `input.yaml` adds to `mesh.yaml`, `proxy.yaml` (optional) says for whom, `expected.yaml` holds the resources
that the input adds or changes. `pytest tests/golden --rewrite-goldens` writes them anew, for a look at the difference.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from sailcloth.analysis import manifests, offline
from sailcloth.mesh import mesh_config
from sailcloth.testing import validate

HERE = Path(__file__).parent
CASES = sorted(p.parent for p in HERE.glob("*/*/input.yaml"))
Object = dict[str, Any]


def dump(folder: Path, *texts: str) -> Object:
    described, options = folder / "proxy.yaml", folder / "mesh-config.yaml"
    proxy = yaml.safe_load(described.read_text()) if described.exists() else {"labels": {"app": "client"}}
    config = mesh_config.parse(options.read_text()) if options.exists() else None
    objects, findings = manifests.load([(HERE / "mesh.yaml").read_text(), *texts])
    assert not findings, [str(f) for f in findings]
    return offline.config_dump(offline.resources(offline.mesh_of(objects, config), offline.describe(proxy)))


def named(found: Object) -> dict[str, Object]:
    """Resources by kind and name; route configurations by virtual host."""
    out: dict[str, Object] = {}
    for part in found["configs"]:
        for entry in next(v for k, v in part.items() if k != "@type"):
            active = entry.get("active_state", entry)
            ((kind, body),) = [(k, copy.deepcopy(v)) for k, v in active.items() if k != "version_info"]
            body.pop("@type")
            if kind != "route_config":
                out[f"{kind} {body.get('name') or body.get('cluster_name')}"] = body
                continue
            for host in body.get("virtual_hosts", ()):
                out[f"route {body['name']} {host['name']}"] = host
    return out


FOR_STATISTICS = ("access_log_options", "upstream_connect_mode", "max_early_data_bytes")


def counts(extension: Object) -> bool:
    counted = extension.get("typed_config", {}).get("emit_filter_state")  # a user's grpc_stats filter stays
    return extension.get("name") == "envoy.access_loggers.stats" or bool(counted)


def without_statistics(value: Any) -> Any:
    """Resources without the standard metrics, which every chain has; the case telemetry/metrics shows them."""
    if isinstance(value, list):
        kept = (without_statistics(v) for v in value)
        return [v for v in kept if not (isinstance(v, dict) and counts(v))]
    if not isinstance(value, dict):
        return value
    plain = {k: without_statistics(v) for k, v in value.items() if k not in FOR_STATISTICS}
    return {k: v for k, v in plain.items() if not (k == "access_log" and v == [])}


def difference(before: dict[str, Object], after: dict[str, Object]) -> Object:
    changed: Object = {name: body for name, body in after.items() if before.get(name) != body}
    changed.update({name: None for name in before if name not in after})
    plain: Object = json.loads(json.dumps(changed))  # what YAML can say
    return plain


@pytest.mark.parametrize("case", CASES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_golden(case: Path, request: pytest.FixtureRequest) -> None:
    made = dump(case, (case / "input.yaml").read_text())
    before, after = named(dump(case)), named(made)
    if case.parts[-2:] != ("telemetry", "metrics"):
        before, after = without_statistics(before), without_statistics(after)
    found = difference(before, after)
    expected = case / "expected.yaml"
    if request.config.getoption("--rewrite-goldens"):
        expected.write_text(yaml.safe_dump(found, sort_keys=True, width=120))
    assert found == yaml.safe_load(expected.read_text())
    assert found, "the input changes nothing"
    kind = "router" if (case / "proxy.yaml").exists() and "router" in (case / "proxy.yaml").read_text() else "sidecar"
    assert validate.envoy_error(validate.static_bootstrap(made, kind)) == ""


def test_there_are_cases_for_every_feature() -> None:
    features = {p.parent.name for p in (HERE.parents[1] / "src/sailcloth/envoy/features").glob("*/emit.py")}
    assert features <= {p.parent.name for p in CASES}


def test_a_refused_configuration_is_noticed() -> None:
    made = validate.static_bootstrap(dump(HERE))
    made["static_resources"]["clusters"].append({"name": "", "type": "STATIC"})
    assert "name" in validate.envoy_error(made).lower()
