"""`python -m sailcloth.local.node --config FILE`."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
from pathlib import Path

import msgspec


async def _serve(path: str) -> None:
    from sailcloth.kube import Client

    from .kubelet import Config, Kubelet

    config = msgspec.json.decode(Path(path).read_bytes(), type=Config)
    while not os.path.exists(config.kubeconfig):  # noqa: ASYNC110  the API server writes it on its first start
        await asyncio.sleep(0.01)
    async with Client.from_kubeconfig(config.kubeconfig) as client:
        await Kubelet(client, config).run()


def main() -> None:
    parser = argparse.ArgumentParser(prog="sailcloth-node", description="The node of a local cluster.")
    parser.add_argument("--config", required=True, help="JSON file with the process's settings")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    gc.freeze()
    asyncio.run(_serve(arguments.config))


if __name__ == "__main__":
    main()
