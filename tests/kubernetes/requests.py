"""Requests that go on while something changes."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Requests:
    """Requests one after the other, until it is left; every answer that does not start as expected is noted. ask: makes one."""

    def __init__(self, ask: Callable[[], str], expected: str = "200 ") -> None:
        self._ask, self._expected = ask, expected
        self._end = threading.Event()
        self.answers = 0
        self.failed: list[str] = []

    def __enter__(self) -> Requests:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.is_set():
            answer = self._ask()
            self.answers += 1
            if not answer.startswith(self._expected):
                self.failed.append(answer)
