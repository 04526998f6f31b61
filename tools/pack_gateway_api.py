"""Packs the Gateway API's CustomResourceDefinitions (standard channel) for the local cluster, from the project's Go module.

Usage: python tools/pack_gateway_api.py $(go mod download -json sigs.k8s.io/gateway-api@v1.6.1 | jq -r .Dir)
"""

from __future__ import annotations

import json
import lzma
import sys
from pathlib import Path

import yaml

OUT = Path(__file__).parent.parent / "src/sailcloth/local/apiserver/data/gateway-api.json.xz"


def main() -> None:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    files = sorted((Path(sys.argv[1]) / "config/crd/standard").glob("*.yaml"))
    documents = [d for f in files for d in yaml.load_all(f.read_text(), loader) if d]
    definitions = [d for d in documents if d.get("kind") == "CustomResourceDefinition"]
    OUT.write_bytes(lzma.compress(json.dumps(definitions, separators=(",", ":")).encode(), preset=9))
    print(f"{len(definitions)} definitions, {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
