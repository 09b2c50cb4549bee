"""The waiting queue: priority first, then a fair share for every caller, then arrival.

Start-time fair queueing (Goyal, Vin and Cheng, 1996): each tenant has a clock that runs with the
tokens served to it, and the tenant whose clock is behind goes first. A tenant that comes (back)
starts at the clock of those who wait already, so being away earns no credit.
"""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field

from inference.engine.sequence import Sequence, SequenceState

# Clocks of absent tenants that are kept; beyond, the ones that make no difference go.
_MAX_ACCOUNTS = 1024
# A line is rebuilt once it holds more of those who left than of those who wait, and this many.
_MAX_DEAD = 64


@dataclass(slots=True)
class _Line:
    """One tenant's waiting sequences of one priority, a heap by arrival.

    Who ends while waiting stays in it until his turn comes or the line is rebuilt.
    """

    heap: list[tuple[int, Sequence]] = field(default_factory=list)
    num_dead: int = 0

    def first(self) -> Sequence | None:
        while self.heap and self.heap[0][1].state is not SequenceState.WAITING:
            heapq.heappop(self.heap)
            self.num_dead -= 1
        return self.heap[0][1] if self.heap else None

    def bury(self) -> None:
        self.num_dead += 1
        if self.num_dead > max(_MAX_DEAD, len(self.heap) // 2):
            self.heap = [e for e in self.heap if e[1].state is SequenceState.WAITING]
            heapq.heapify(self.heap)
            self.num_dead = 0


@dataclass(slots=True)
class _Account:
    """A tenant's clock (tokens) and its lines by priority."""

    clock: int
    lines: dict[int, _Line] = field(default_factory=dict)


class FairQueue:
    """Adding and taking cost the logarithm of the number of tenants and of a tenant's requests."""

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}
        # By priority: a heap of (clock, first arrival, tenant), one entry per line. Clocks only go
        # forward, so an entry may lag behind; it is put right once it comes to the top.
        self._lanes: dict[int, list[tuple[int, int, str]]] = {}
        self._num_waiting: Counter[str] = Counter()  # by tenant, those with none left out
        self._clock = 0
        self._highest = 0

    @property
    def num_tenants(self) -> int:
        """Tenants that have someone waiting."""
        return len(self._num_waiting)

    def num_waiting(self, tenant: str) -> int:
        """How many of one tenant wait."""
        return self._num_waiting[tenant]

    def add(self, sequence: Sequence) -> None:
        """Let a sequence wait; also one that was preempted: it keeps its place by arrival."""
        account = self._account(sequence.tenant)
        if not any(line.first() for line in account.lines.values()):
            account.clock = max(account.clock, self._clock_of_waiting(sequence.priority))
        line = account.lines.get(sequence.priority)
        if line is None:
            line = account.lines[sequence.priority] = _Line()
            lane = self._lanes.setdefault(sequence.priority, [])
            heapq.heappush(lane, (account.clock, sequence.arrival, sequence.tenant))
        heapq.heappush(line.heap, (sequence.arrival, sequence))
        self._num_waiting[sequence.tenant] += 1

    def peek(self) -> Sequence | None:
        """Whose turn it is."""
        while self._lanes:
            priority = max(self._lanes)
            first = self._first_of(priority)
            if first is not None:
                return first
            del self._lanes[priority]
        return None

    def take(self, sequence: Sequence) -> None:
        """Remove the one that `peek` named."""
        account = self._accounts[sequence.tenant]
        heapq.heappop(account.lines[sequence.priority].heap)
        self._clock = max(self._clock, account.clock)
        self._count_down(sequence.tenant)

    def bury(self, sequence: Sequence) -> None:
        """Note that a waiting sequence has ended."""
        self._accounts[sequence.tenant].lines[sequence.priority].bury()
        self._count_down(sequence.tenant)

    def charge(self, tenant: str, num_tokens: int) -> None:
        """Note what a tenant was served."""
        account = self._accounts.get(tenant)
        if account is not None:
            account.clock += num_tokens
            self._highest = max(self._highest, account.clock)

    def rest(self) -> None:
        """Note that nobody waits or runs: who used the idle machine owes nobody anything."""
        self._clock = self._highest

    def _count_down(self, tenant: str) -> None:
        self._num_waiting[tenant] -= 1
        if not self._num_waiting[tenant]:
            del self._num_waiting[tenant]

    def _first_of(self, priority: int) -> Sequence | None:
        lane = self._lanes[priority]
        while lane:
            clock, arrival, tenant = lane[0]
            account = self._accounts[tenant]
            first = account.lines[priority].first()
            if first is None:
                heapq.heappop(lane)
                del account.lines[priority]
            elif (clock, arrival) != (account.clock, first.arrival):
                heapq.heapreplace(lane, (account.clock, first.arrival, tenant))
            else:
                return first
        return None

    def _clock_of_waiting(self, priority: int) -> int:
        """Where a tenant starts that had nobody waiting: not before those who wait or were served."""
        first = self._first_of(priority) if priority in self._lanes else None
        if first is None:
            return self._clock
        return max(self._clock, self._accounts[first.tenant].clock)

    def _account(self, tenant: str) -> _Account:
        account = self._accounts.get(tenant)
        if account is None:
            if len(self._accounts) >= _MAX_ACCOUNTS:
                self._prune()
            account = self._accounts[tenant] = _Account(self._clock)
        return account

    def _prune(self) -> None:
        """Drop the accounts of those who do not wait, first those that would start at this clock."""
        waiting = {name: account for name, account in self._accounts.items() if account.lines}
        ahead = {
            name: account
            for name, account in self._accounts.items()
            if account.lines or account.clock > self._clock
        }
        self._accounts = ahead if len(ahead) < _MAX_ACCOUNTS else waiting
