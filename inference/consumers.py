"""Stages 1 and 7 over a WebSocket, `/ws/infer/`: several calls at once, their tokens as they come."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Any, cast

from rest_framework.exceptions import ValidationError

from inference.api import socket_views
from inference.api.responses import event_data
from inference.api.views import Asked, PendingAnswer
from inference.protocol import DoneEvent, TokenEvent
from inference.socket_fields import (
    ACTIONS,
    ENVELOPE,
    CancelMessage,
    InferMessage,
    PingMessage,
    ResumeMessage,
    checked,
)
from llamagpu.http.errors import AppError
from llamagpu.http.idempotency import REPLAYED_HEADER
from llamagpu.http.permissions import INFER
from llamagpu.http.request_threads import in_busy_thread
from llamagpu.http.sockets.close_codes import CloseCode
from llamagpu.http.sockets.consumer import PortalConsumer
from llamagpu.http.sockets.messages import HEARTBEAT, write_error, write_message
from llamagpu.lib.error_codes import ErrorCode
from monitoring.configuration import current

logger = logging.getLogger(__name__)

#: Calls that one socket may have open at once; more belong on more sockets, or in a batch.
MAX_CALLS = 16
#: Seconds without news of a call after which a message says that it goes on.
HEARTBEAT_AFTER = 10.0
#: Seconds that a socket may stay open without a call.
IDLE_TIMEOUT = 600.0


class _Call:
    """One call of a socket. `job_id` is empty until there is a job."""

    def __init__(self, call_id: str) -> None:
        self.id = call_id
        self.job_id = ""
        self.task: asyncio.Task[None] | None = None


class InferConsumer(PortalConsumer):
    route = socket_views.ROUTE
    rule = INFER
    message_rate, message_burst = 20.0, 100

    def __init__(self, **door: Any) -> None:
        super().__init__(**door)
        self.most_bytes = current().max_body_bytes
        self._calls: dict[str, _Call] = {}
        self._idle_since = time.monotonic()

    async def opened(self) -> None:
        self.start_task(self._close_when_idle())

    async def received(self, message: dict[str, Any]) -> None:
        action = message.get("action")
        if action == "infer":
            self._infer(message)
        elif action == "resume":
            self._resume(message)
        elif action == "cancel":
            self._cancel(message)
        elif action == "ping":
            fields = checked(PingMessage(data=message))
            await self.send_text(write_message("pong", {}, id=fields.get("id")))
        else:
            raise ValidationError({"action": [f"Must be one of {', '.join(ACTIONS)}."]})

    def _infer(self, message: dict[str, Any]) -> None:
        fields = checked(InferMessage(data=message))
        body = {name: value for name, value in message.items() if name not in ENVELOPE}
        text = json.dumps(body).encode()
        key = fields.get("idempotency_key")
        trace = fields.get("traceparent") or self._offered_trace()
        self._begin(fields["id"], lambda: socket_views.infer(self.caller, text, key, trace))

    def _offered_trace(self) -> str:
        """What came with the handshake, for calls that do not name a trace of their own."""
        headers: Any = self.scope.get("headers", ())
        found = next((value for name, value in headers if name == b"traceparent"), b"")
        return str(found.decode("latin-1"))

    def _resume(self, message: dict[str, Any]) -> None:
        fields = checked(ResumeMessage(data=message))
        job_id, cursor = fields["job_id"], fields["cursor"]
        self._begin(fields["id"], lambda: socket_views.resume(self.caller, job_id, cursor))

    def _cancel(self, message: dict[str, Any]) -> None:
        fields = checked(CancelMessage(data=message))
        call = self._calls.get(fields["id"])
        job_id = fields.get("job_id") or (call.job_id if call is not None else None)
        if job_id:
            self.start_task(self._guarded(fields["id"], self._cancel_job(fields["id"], job_id)))
        elif call is not None and call.task is not None:  # there is no job yet
            call.task.cancel()
            self.start_task(self._tell(fields["id"], _cancelled()))
        else:
            raise AppError(ErrorCode.NOT_FOUND, "id: there is no such call on this socket.")

    def _begin(self, call_id: str, run: Callable[[], Any]) -> None:
        if call_id in self._calls:
            raise AppError(ErrorCode.CONFLICT, "id: a call of that name is open on this socket.")
        if len(self._calls) >= MAX_CALLS:
            message = f"{MAX_CALLS} calls are open on this socket, which is the limit."
            raise AppError(ErrorCode.RATE_LIMIT_EXCEEDED, message, retry_after=1)
        call = self._calls[call_id] = _Call(call_id)
        call.task = self.start_task(self._guarded(call_id, self._serve(call, run)))
        call.task.add_done_callback(lambda _: self._forget(call))

    def _forget(self, call: _Call) -> None:
        del self._calls[call.id]
        self._idle_since = time.monotonic()

    async def _guarded(self, call_id: str, work: Coroutine[Any, Any, None]) -> None:
        """What goes wrong is told under the call's name and ends nothing else."""
        try:
            await work
        except AppError as error:  # the caller may not call any more
            await self._tell(call_id, error)
        except Exception as exception:
            logger.exception("a call over a socket broke")
            await self._tell(call_id, self._explain(exception))

    async def _serve(self, call: _Call, run: Callable[[], Any]) -> None:
        answer = asyncio.ensure_future(in_busy_thread(run)())
        try:
            response = await asyncio.shield(answer)
        except asyncio.CancelledError:
            answer.add_done_callback(_leave_unread)
            raise
        if isinstance(response, PendingAnswer):
            call.job_id = response.asked.job_id
            request_id = str(response["X-Request-ID"])
            is_replayed = response.get(REPLAYED_HEADER) == "true"
            data = {"request_id": request_id, "is_replayed": is_replayed}
            await self.send_text(write_message("accepted", data, id=call.id, job_id=call.job_id))
            await self._follow(call, response.asked, request_id)
        elif response.status_code == 204:
            await self.send_text(write_message("nothing_follows", {}, id=call.id))
        else:
            await self._tell_answer(call.id, response)

    async def _follow(self, call: _Call, asked: Asked, request_id: str) -> None:
        """The payloads of `POST /api/stream_infer`, each with its place in the job's stream.

        Who reads slowly is waited for; the job's events stay in Redis meanwhile. Leaving early leaves
        the job as a client of REST does that hangs up.
        """
        position, sent_at = -1, time.monotonic()
        async with aclosing(asked.events) as events:
            async for item in events:
                if item is not None and isinstance(item[1], TokenEvent):
                    position = item[1].position
                    item = None if item[1].is_empty else item
                if item is not None:
                    place, event = item
                    name, data = event_data(request_id, event, position)
                    name = name or ("complete" if isinstance(event, DoneEvent) else "token")
                    text = write_message(
                        name, data, id=call.id, job_id=call.job_id, event_id=str(place)
                    )
                elif time.monotonic() - sent_at < HEARTBEAT_AFTER:
                    continue
                else:
                    text = write_message(HEARTBEAT, {}, id=call.id, job_id=call.job_id)
                sent_at = time.monotonic()
                await self.send_text(text)
                if not self._is_open:
                    return

    async def _cancel_job(self, call_id: str, job_id: Any) -> None:
        response = await in_busy_thread(socket_views.cancel)(self.caller, job_id)
        if response.status_code >= 400:
            await self._tell_answer(call_id, response)
        else:
            data = {"job_id": str(job_id), "state": response.data["job"]["state"]}
            await self.send_text(write_message("cancelling", data, id=call_id, job_id=str(job_id)))

    async def _tell_answer(self, call_id: str, response: Any) -> None:
        """The error envelope of REST."""
        data = dict(response.data)
        if "Retry-After" in response:
            data["error"] = {**data["error"], "retry_after": int(response["Retry-After"])}
        await self.send_text(write_message("error", data, id=call_id))

    async def _tell(self, call_id: str, error: AppError) -> None:
        await self.send_text(write_error(error, self.request_id, id=call_id))

    async def _close_when_idle(self) -> None:
        while (left := self._idle_since + IDLE_TIMEOUT - time.monotonic()) > 0 or self._calls:
            await asyncio.sleep(max(1.0, left))
        await self.close(CloseCode.IDLE)


def _cancelled() -> AppError:
    return AppError(ErrorCode.CANCELLED, "The call was cancelled before it became a job.")


def _leave_unread(answer: asyncio.Future[Any]) -> None:
    """A call whose caller went while it was queued: its job is left as by any other reader."""
    if answer.cancelled() or answer.exception() is not None:
        return
    response = answer.result()
    if isinstance(response, PendingAnswer):
        task = asyncio.get_running_loop().create_task(_begin_and_leave(response.asked))
        _leaving.add(task)
        task.add_done_callback(_leaving.discard)


async def _begin_and_leave(asked: Asked) -> None:
    # A generator cleans up after itself only once it was begun.
    async with aclosing(cast(Any, asked.events)) as events:
        first = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


_leaving: set[asyncio.Task[None]] = set()
