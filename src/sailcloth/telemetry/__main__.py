"""`python -m sailcloth.telemetry --config FILE`."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging

from sailcloth.lib import deferred_start


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="sailcloth-telemetry", description="The metrics and traces of a Sailcloth mesh."
    )
    parser.add_argument("--config", required=True, help="JSON file with the process's settings")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    deferred_start.wait(arguments.config)
    gc.disable()  # imports leave no garbage
    from .process import load_config, serve

    gc.freeze()
    gc.enable()
    asyncio.run(serve(load_config(arguments.config)))


if __name__ == "__main__":
    main()
