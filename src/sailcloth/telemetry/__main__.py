"""`python -m sailcloth.telemetry --config FILE`."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import time

_AFTER_S = 30.0


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="sailcloth-telemetry", description="The metrics and traces of a Sailcloth mesh."
    )
    parser.add_argument("--config", required=True, help="JSON file with the process's settings")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    _wait(arguments.config)
    gc.disable()  # imports leave no garbage
    from .process import load_config, serve

    gc.freeze()
    gc.enable()
    asyncio.run(serve(load_config(arguments.config)))


def _wait(config: str) -> None:
    """Until the file of the setting `after` is there, or some time has passed: a cluster that starts needs its processors itself."""
    with open(config, "rb") as file:
        after = json.load(file).get("after", "")
    end = time.monotonic() + _AFTER_S
    while after and not os.path.exists(after) and time.monotonic() < end:
        time.sleep(0.1)


if __name__ == "__main__":
    main()
