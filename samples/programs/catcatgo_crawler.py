"""CatCatGo's crawler, as a CronJob runs it: draws some kittens and puts them into the store at MONGO_DB_URL, then ends."""

from __future__ import annotations

import base64
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from store import Store

KITTENS = {
    "tiger": "#d8913a",
    "ash": "#8a8d90",
    "snow": "#eeeeee",
    "soot": "#2b2b2b",
    "ginger": "#c9570b",
    "cream": "#f3dfb7",
}


def picture(fur: str) -> str:
    """A kitten's face, as SVG."""
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100">'
        f'<path d="M20 40 18 10 40 26zM80 40 82 10 60 26z" fill="{fur}" stroke="#333"/>'
        f'<circle cx="50" cy="55" r="34" fill="{fur}" stroke="#333"/>'
        '<circle cx="38" cy="50" r="6" fill="#7bc043"/><circle cx="62" cy="50" r="6" fill="#7bc043"/>'
        '<path d="M46 64 54 64 50 69zM20 66H36M20 72H36M64 66H80M64 72H80" fill="#e88" stroke="#333"/></svg>'
    )


def main() -> None:
    store = Store(os.environ.get("MONGO_DB_URL", "mongo:27017").removeprefix("mongodb://"))
    for name, fur in KITTENS.items():
        encoded = base64.b64encode(picture(fur).encode()).decode()
        value = {
            "id": name,
            "kind": "kitten",
            "name": f"a kitten named {name}",
            "type": "image/svg+xml",
            "picture": encoded,
        }
        store.ask("put", table="pictures", id=name, value=value)
    print(f"{len(KITTENS)} kittens are in the store", flush=True)


if __name__ == "__main__":
    main()
