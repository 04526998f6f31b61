"""Console-script entry of `sailctl`: imports the commands inside the reach of its exception handler, so that Ctrl-C ends it quietly
from its first moment on."""

from __future__ import annotations

import os
import sys


def run() -> None:
    """Run the command line."""
    # Without the framework, which takes longer to start: scripts ask for the version, and people for the list of commands.
    if sys.argv[1:] == ["version"]:
        from . import output

        output.version()
        return
    if sys.argv[1:] in ([], ["-h"], ["--help"], ["help"]) and "_SAILCTL_COMPLETE" not in os.environ:
        from . import help_text

        plugin = os.path.basename(sys.argv[0]) == "kubectl-sail"
        print(help_text.TEXT.replace("sailctl", "kubectl sail") if plugin else help_text.TEXT, end="")
        return
    try:
        from .main import run as run_command

        run_command()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    run()
