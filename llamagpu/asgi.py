"""The web process's entry: HTTP through Django, by protocol so that WebSockets can join."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "llamagpu.settings")

import django

django.setup(set_prefix=False)

from channels.routing import ProtocolTypeRouter
from django.conf import settings

from llamagpu.checks import refuse_unsafe_start
from llamagpu.http.request_threads import portal_application
from monitoring.metrics.flusher import start_flushing
from monitoring.metrics.scrape_server import serve_metrics

refuse_unsafe_start()
start_flushing(settings.REDIS_URL, "web")
if settings.LLAMA.metrics_address is not None:
    serve_metrics(settings.LLAMA.metrics_address)

application = ProtocolTypeRouter({"http": portal_application()})
