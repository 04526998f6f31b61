"""What the cache of responses keeps, and for how long."""

from __future__ import annotations

from sailcloth.xds.cache import Key, ResponseCache

NAMES = frozenset({"a"})


def test_a_subjects_new_version_outdates_what_was_said_of_the_old_one() -> None:
    cache = ResponseCache()
    old, beside, other = Key("routes", 1, "new"), Key("routes", 1, "has 0"), Key("clusters", 1, "new")
    for key in (old, beside, other):
        cache.put(key, b"x" * 100, NAMES)
    assert cache.get(old) == cache.get(beside) == (b"x" * 100, NAMES)
    cache.put(Key("routes", 2, "has 1"), b"y", NAMES)
    assert cache.get(old) is None
    assert cache.get(beside) is None
    assert cache.get(other) is not None
    assert len(cache) == 2


def test_a_change_a_second_for_a_day_takes_no_more_memory_than_one() -> None:
    cache = ResponseCache()
    cache.put(Key("routes", 0, "has 0"), b"x" * 100, NAMES)
    size = cache.size
    for version in range(1, 1000):
        cache.put(Key("routes", version, f"has {version - 1}"), b"x" * 100, NAMES)
    assert (len(cache), cache.size) == (1, size)


def test_the_least_recently_used_go_when_the_budget_is_spent() -> None:
    cache = ResponseCache(budget=10_000)
    keys = [Key("routes", 1, number) for number in range(20)]
    for key in keys:
        cache.put(key, b"x" * 1000, NAMES)
        cache.get(keys[0])
    assert cache.get(keys[0]) is not None
    assert cache.get(keys[1]) is None
    assert cache.size <= 10_000
    large = Key("routes", 1, "all")
    cache.put(large, b"x" * 20_000, NAMES)
    assert cache.get(large) is not None
    assert len(cache) == 1
    cache.put(large, b"x", NAMES)
    assert cache.size < 2_000
