"""`python -m sailcloth.controlplane --config FILE`."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
from dataclasses import replace


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="sailcloth-controlplane", description="The control plane of a Sailcloth mesh."
    )
    parser.add_argument("--config", required=True, help="JSON file with the process's settings")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    gc.disable()  # a tenth of the time that imports take, which leave no garbage
    from sailcloth.mesh.tls_parameters import check_policy

    from .process import serve
    from .settings import load_config

    gc.freeze()
    gc.enable()
    config = load_config(arguments.config)
    config = replace(config, compliance_policy=os.environ.get("COMPLIANCE_POLICY", config.compliance_policy))
    try:
        check_policy(config.compliance_policy)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    asyncio.run(serve(config))


if __name__ == "__main__":
    main()
