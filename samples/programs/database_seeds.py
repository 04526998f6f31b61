"""What the samples' databases hold at first: ten socks; three customers with an address and a card each; two ratings."""

from __future__ import annotations

import hashlib
from typing import Any

# id, name, description, price, how many, tags
_SOCKS: tuple[tuple[str, str, str, float, int, str], ...] = (
    (
        "03fef6ac-1896-4ce8-bd69-b798f85c6e0b",
        "Holy",
        "Worn by few and mended by none. More hole than wool.",
        99.99,
        1,
        "action magic",
    ),
    (
        "3395a43e-2d88-40de-b95f-e00e1502085b",
        "Colourful",
        "Every colour that was left in the workshop, in stripes.",
        18.00,
        438,
        "brown blue",
    ),
    (
        "510a0d7e-8e83-4193-b483-e27e09ddc34d",
        "SuperSport XL",
        "For long runs in all weathers. Tall enough for the tallest.",
        15.00,
        820,
        "sport formal black",
    ),
    (
        "808a2de1-1aaa-4c25-a9b9-6612e8f29a38",
        "Crossed",
        "A pair that has crossed its heart to stay a pair.",
        17.32,
        738,
        "blue red action formal",
    ),
    (
        "819e1fbf-8b7e-4f6d-811f-693534916a8b",
        "Figueroa",
        "Green with a fine rib, as the street of that name after rain.",
        14.00,
        808,
        "green formal blue",
    ),
    (
        "837ab141-399e-4c1f-9abc-bace40296bac",
        "Cat socks",
        "Soft steps for those who walk by themselves.",
        15.00,
        175,
        "brown formal green",
    ),
    (
        "a0a4f044-b040-410d-8ead-4de0446aec7e",
        "Nerd leg",
        "For legs that know the binary logarithm of their length.",
        7.99,
        115,
        "blue skin",
    ),
    (
        "d3588630-ad8e-49df-bbd7-3167f7efb246",
        "YouTube.sock",
        "A socket to be watched by millions.",
        10.99,
        801,
        "formal geek",
    ),
    (
        "zzz4f044-b040-410d-8ead-4de0446aec7e",
        "Classic",
        "Brown outside, green within, right with everything.",
        12.00,
        127,
        "brown green",
    ),
    (
        "6d62d909-f957-430e-8689-b5129c0bb75e",
        "Weave special",
        "A limited edition, woven in one piece by people who like a good mesh.",
        17.15,
        33,
        "geek black",
    ),
)

# id, user name, password, first name, last name
_CUSTOMERS = (
    ("57a98d98e4b00679b4a830af", "Eve_Berger", "eve", "Eve", "Berger"),
    ("57a98d98e4b00679b4a830b2", "user", "password", "User", "Name"),
    ("57a98d98e4b00679b4a830b5", "user1", "password", "User1", "Name1"),
)


def digest(salt: str, password: str) -> str:
    return hashlib.sha256(f"{salt}:{password}".encode()).hexdigest()


def customer(ident: str, username: str, password: str, first: str, last: str, email: str = "") -> dict[str, Any]:
    """A customer's document; the id salts the password."""
    return {
        "id": ident,
        "username": username,
        "digest": digest(ident, password),
        "firstName": first,
        "lastName": last,
        "email": email,
    }


def tables(seed: str) -> dict[str, dict[str, Any]]:
    if seed == "socks":
        return {
            "socks": {
                ident: {
                    "id": ident,
                    "name": name,
                    "description": text,
                    "imageUrl": [f"/catalogue/images/{ident}.{n}.svg" for n in (1, 2)],
                    "price": price,
                    "count": count,
                    "tag": tags.split(),
                }
                for ident, name, text, price, count, tags in _SOCKS
            }
        }
    if seed == "users":
        found: dict[str, dict[str, Any]] = {"customers": {}, "addresses": {}, "cards": {}}
        for number, (ident, *rest) in enumerate(_CUSTOMERS):
            found["customers"][ident] = customer(ident, *rest)
            at, card = f"{ident[:-2]}a{number}", f"{ident[:-2]}c{number}"
            found["addresses"][at] = {
                "id": at,
                "userID": ident,
                "street": "Whitelees Road",
                "number": str(246 + number),
                "city": "Glasgow",
                "postcode": "G67 3DL",
                "country": "United Kingdom",
            }
            found["cards"][card] = {
                "id": card,
                "userID": ident,
                "longNum": f"554415443109872{number}",
                "expires": "08/29",
                "ccv": "958",
            }
        return found
    return {"ratings": {"1": {"rating": 5}, "2": {"rating": 4}}} if seed == "ratings" else {}
