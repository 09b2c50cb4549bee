"""The web process's entry: HTTP through Django, by protocol so that WebSockets can join."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "llamagpu.settings")

import django

django.setup(set_prefix=False)

from channels.routing import ProtocolTypeRouter

from llamagpu.checks import refuse_unsafe_start
from llamagpu.http.request_threads import portal_application

refuse_unsafe_start()

application = ProtocolTypeRouter({"http": portal_application()})
