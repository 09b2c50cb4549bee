"""What waits to be sent to one watcher: bounded, however slowly that one reads.

Of metrics only the newest waits. Of events the oldest go when there are too many; the watcher is then
told how many it has missed, before the next one. One that misses too much is given up.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import Generic, TypeVar

Item = TypeVar("Item")

#: Events, and answers, that wait for one watcher at most.
MAX_EVENTS, MAX_ANSWERS = 256, 64
#: Events that one may miss without having read all that waits.
MAX_MISSED = 1024


class Outbox(Generic[Item]):
    def __init__(self) -> None:
        self._answers: deque[Item] = deque()
        self._events: deque[tuple[str, Item]] = deque()
        self._latest: dict[str, Item] = {}
        self._missed: Counter[str] = Counter()
        self._news = asyncio.Event()
        #: Its watcher will never catch up.
        self.is_hopeless = False

    def put_answer(self, item: Item) -> None:
        """What the watcher has asked for; goes before everything else."""
        self.is_hopeless |= len(self._answers) >= MAX_ANSWERS
        if not self.is_hopeless:
            self._answers.append(item)
            self._news.set()

    def put_event(self, stream: str, item: Item) -> None:
        """In its order."""
        if len(self._events) >= MAX_EVENTS:
            self.miss(self._events.popleft()[0])
        self._events.append((stream, item))
        self._news.set()

    def put_latest(self, stream: str, item: Item) -> None:
        """In place of an older one of the same stream."""
        self._latest[stream] = item
        self._news.set()

    def miss(self, stream: str, number: int = 1) -> None:
        """Events that the watcher will not get."""
        self._missed[stream] += number
        self.is_hopeless |= self._missed.total() > MAX_MISSED
        self._news.set()

    def forget(self, stream: str) -> None:
        """Nothing of this stream is wanted any more."""
        self._latest.pop(stream, None)
        self._missed.pop(stream, None)
        self._events = deque(item for item in self._events if item[0] != stream)

    async def wait(self) -> None:
        """Until there is something to take."""
        await self._news.wait()

    def take_missed(self) -> Counter[str]:
        """How many events of which stream were missed before the next one that is taken."""
        missed, self._missed = self._missed, Counter()
        return missed

    def take(self) -> Item | None:
        """The next one, None where nothing waits."""
        if self._answers:
            return self._answers.popleft()
        if self._events:
            return self._events.popleft()[1]
        if self._latest:
            return self._latest.pop(next(iter(self._latest)))
        self._news.clear()
        return None

    def __len__(self) -> int:
        return len(self._answers) + len(self._events) + len(self._latest)
