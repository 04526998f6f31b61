"""Sample applications: manifests to apply, and the programs that their images stand for.

Installed as `sailcloth_samples`. Imports nothing of the mesh; the mesh knows only where the files are.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent
"""The folder of the manifests, one folder per application, and of `programs`."""
