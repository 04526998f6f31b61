"""`python -m benchmarks NAME [--json]`: runs a measurement, shows it, and keeps it in `benchmarks/results/`."""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from . import (
    api,
    change,
    console,
    fleet,
    graph,
    machine,
    memory,
    names,
    pair,
    security,
    shapes,
    start,
    telemetry,
    truth,
)

RESULTS = Path(__file__).parent / "results"
BENCHMARKS: dict[str, Callable[[], Awaitable[dict[str, Any]]]] = {
    "graph": graph.run,
    "change": change.run,
    "fleet": fleet.run,
    "console": console.run,
    "start": start.run,
    "api": api.run,
    "pair": pair.run,
    "memory": memory.run,
    "names": names.run,
    "shapes": shapes.run,
    "security": security.run,
    "telemetry": telemetry.run,
    "truth": truth.run,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=[*BENCHMARKS, "all"], help="which measurement")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--no-save", action="store_true", help="do not write to benchmarks/results/")
    parser.add_argument("--rounds", type=int, default=pair.ROUNDS, help="of pair: rounds that count")
    arguments = parser.parse_args()
    wanted = list(BENCHMARKS) if arguments.name == "all" else [arguments.name]
    found = {}
    for name in wanted:
        before = machine.load()
        found[name] = asyncio.run(pair.run(arguments.rounds) if name == "pair" else BENCHMARKS[name]())
        record = {"benchmark": name, "machine": machine.describe(), "load_before": before, **found[name]}
        if not arguments.no_save:
            RESULTS.mkdir(exist_ok=True)
            stamp = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d")
            (RESULTS / f"{stamp}-{name}.json").write_text(json.dumps(record, indent=2) + "\n")
        if not arguments.json:
            print(f"{name}  (load before: {before})")
            for key, value in found[name].items():
                if key == "raw":
                    continue
                print(f"  {key:34} {value}")
    if arguments.json:
        print(json.dumps(found[wanted[0]] if len(wanted) == 1 else found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
