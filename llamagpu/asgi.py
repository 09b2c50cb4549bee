"""The web process's entry: HTTP through Django, by protocol so that WebSockets can join."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "llamagpu.settings")

from django.core.asgi import get_asgi_application

django_application = get_asgi_application()

from channels.routing import ProtocolTypeRouter

from llamagpu.checks import refuse_unsafe_start

refuse_unsafe_start()

application = ProtocolTypeRouter({"http": django_application})
