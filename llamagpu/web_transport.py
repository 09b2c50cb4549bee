"""Connections of the web server whose writes do not wait for a turn of the event loop.

twisted first asks the loop to say when a socket takes data, and writes then: for a stream's piece of a
hundred bytes that is two more calls of the system, two records in the loop and a turn of it, together
more than the writing.
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.tcp import Server


class PromptTransport(Server):
    """Gives the system at once what it takes at once. The rest waits, as with twisted, and so does all
    that is written while something waits: order and back pressure are twisted's."""

    def write_now(self, pieces: Iterable[bytes]) -> None:
        """As `writeSequence`. A connection that turns out to be lost is noticed as ever."""
        data = b"".join(pieces)
        if self._is_idle():
            sent = self.writeSomeData(data)
            data = data[sent if isinstance(sent, int) else 0 :]
        if data:
            self.write(data)

    def _is_idle(self) -> bool:
        """Whether nothing is on its way here, and nothing stands in the way."""
        has_waiting = self._tempDataBuffer or len(self.dataBuffer) > self.offset
        is_ending = self.disconnecting or self._writeDisconnected or self._writeDisconnecting
        return bool(self.connected) and not (has_waiting or is_ending or self.TLS)
