"""Options of `up` and `demo` that plug other stores in: they take the place of the embedded ones, or get a copy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from . import output

_PANEL = "Telemetry"
Keep = Annotated[
    bool,
    typer.Option(
        "--telemetry/--no-telemetry", help="Keep metrics, traces and access logs in a process of the cluster."
    ),
]
Prometheus = Annotated[
    str,
    typer.Option(
        metavar="URL",
        rich_help_panel=_PANEL,
        help="A Prometheus of this machine or network in place of the embedded store; it takes remote writes.",
    ),
]
Tracing = Annotated[
    str,
    typer.Option(
        metavar="URL",
        rich_help_panel=_PANEL,
        help="A Jaeger, Tempo or Zipkin in place of the embedded store: its query API.",
    ),
]
Spans = Annotated[
    str,
    typer.Option(
        metavar="URL",
        rich_help_panel=_PANEL,
        help="Where that takes spans, if not at port 4318 of its host by OTLP; port 9411 means Zipkin's protocol.",
    ),
]
ForwardMetrics = Annotated[
    str, typer.Option(metavar="URL", rich_help_panel=_PANEL, help="Also send all metrics there, by remote write.")
]
ForwardSpans = Annotated[
    str,
    typer.Option(
        metavar="URL", rich_help_panel=_PANEL, help="Also send all spans there, by OTLP or Zipkin's protocol."
    ),
]


@dataclass(frozen=True)
class Telemetry:
    """What was given; empty for nothing."""

    keep: bool
    prometheus: str
    tracing: str
    spans: str
    forward_metrics: str
    forward_spans: str

    def options(self) -> dict[str, Any]:
        """The options of a cluster: settings of the telemetry process, and (host, port, whether with TLS) of the servers by their origins.
        Ends the command if a URL is none, or nothing would use it."""
        given = {name: value for name, value in vars(self).items() if name != "keep" and value}
        if not given:
            return {"telemetry": self.keep}
        from yarl import URL

        from sailcloth.telemetry.traces import forwarding
        from sailcloth.telemetry.upstreams import origin

        flags = {name: f"--{name.replace('_', '-')}" for name in given}
        if not self.keep:
            output.fail(f"{' and '.join(flags.values())} need telemetry; leave out --no-telemetry", output.USAGE)
        if self.spans and not self.tracing:
            output.fail("--spans says where the system of --tracing takes spans; use --forward-spans", output.USAGE)
        for name, text in given.items():
            try:
                url = URL(text)
                valid = url.scheme in ("http", "https") and bool(url.host) and not url.query_string and not url.fragment
            except ValueError:
                valid = False
            if not valid:
                output.fail(f"{flags[name]}: give a URL such as http://localhost:9090", output.USAGE)
        spans, copies, writes = "", list[str](), list[str]()
        if self.tracing:
            spans = forwarding.endpoint(self.spans) if self.spans else forwarding.endpoint_beside(self.tracing)
        if self.forward_spans:
            copies = [forwarding.endpoint(self.forward_spans)]
        if self.forward_metrics:
            write = URL(self.forward_metrics)
            writes = [str(write if write.path.strip("/") else write.with_path("/api/v1/write"))]
        to = {
            "prometheus": self.prometheus,
            "tracing": self.tracing,
            "spans": spans,
            "remote_write": writes,
            "forward_spans": copies,
        }
        urls = [u for u in (self.prometheus, self.tracing, spans, *writes, *copies) if u]
        return {
            "telemetry": True,
            "telemetry_settings": to,
            "upstreams": {origin(u): [URL(u).host, URL(u).port, URL(u).scheme == "https"] for u in urls},
        }
