"""Asks Envoy which commands of its substitution formats it takes: `python -m tools.format_commands NAME…` prints, for each name, whether
the command is accepted bare, with an argument, with an argument and a length, and with a length alone.

For keeping the tables of `sailcloth.api.validation.formats` true to a new Envoy.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile

from sailcloth.agent.node_agent import envoy_path

FORMS = ("%{}%", "%{}(a)%", "%{}(a):3%", "%{}:3%")


def accepted(value: str) -> bool:
    """Whether Envoy takes a format as the value of a response header."""
    route = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 200},
        "response_headers_to_add": [{"header": {"key": "x", "value": value}}],
    }
    kind = "type.googleapis.com/envoy.extensions.filters"
    manager = {
        "@type": f"{kind}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "a",
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{kind}.http.router.v3.Router"}}
        ],
        "route_config": {"virtual_hosts": [{"name": "a", "domains": ["*"], "routes": [route]}]},
    }
    name = "envoy.filters.network.http_connection_manager"
    listener = {
        "name": "l",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [{"name": name, "typed_config": manager}]}],
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"static_resources": {"listeners": [listener]}}, file)
        file.flush()
        command = [envoy_path(), "--mode", "validate", "-c", file.name, "-l", "off"]
        return subprocess.run(command, capture_output=True, timeout=30).returncode == 0


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(name, *(accepted(form.format(name)) for form in FORMS))
