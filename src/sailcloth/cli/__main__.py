"""Console-script entry of `sailctl`: imports the commands inside the reach of its exception handler, so that Ctrl-C ends it quietly
from its first moment on."""

from __future__ import annotations

import sys


def run() -> None:
    """Run the command line."""
    if sys.argv[1:] == [
        "version"
    ]:  # prompts and scripts ask for it: answered without the framework, which takes longer to start
        from . import output

        output.version()
        return
    try:
        from .main import run as run_command

        run_command()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    run()
