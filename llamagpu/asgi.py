"""The web process's entry: HTTP through Django, live sockets through Channels and Socket.IO."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "llamagpu.settings")

import django

django.setup(set_prefix=False)

from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.urls import path, re_path

from accounts.sockets import SUBPROTOCOL, authenticate_socket
from inference.consumers import InferConsumer
from llamagpu.checks import refuse_unsafe_start
from llamagpu.http.request_threads import portal_application
from llamagpu.http.sockets.consumer import NoSuchSocket
from llamagpu.lib.garbage import look_seldom
from monitoring.live.consumers import StreamConsumer
from monitoring.live.socketio_server import SocketIoApplication
from monitoring.logs.handler import start_log_store
from monitoring.metrics.flusher import start_flushing
from monitoring.metrics.scrape_server import serve_metrics
from monitoring.trace_start import start_tracing

refuse_unsafe_start()
start_log_store(settings.REDIS_URL, "web")
start_tracing("web")
start_flushing(settings.REDIS_URL, "web")
if settings.LLAMA.metrics_address is not None:
    serve_metrics(settings.LLAMA.metrics_address)

_door = {"authenticate": authenticate_socket, "subprotocol": SUBPROTOCOL}

application = ProtocolTypeRouter(
    {
        "http": portal_application(),
        "websocket": URLRouter(
            [
                path("ws/stream/", StreamConsumer.as_asgi(**_door)),
                path("ws/infer/", InferConsumer.as_asgi(**_door)),
                path("socket.io/", SocketIoApplication(authenticate_socket)),  # type: ignore[arg-type]
                re_path("", NoSuchSocket.as_asgi()),
            ]
        ),
    }
)
look_seldom()
