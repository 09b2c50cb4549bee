"""The Celery application. Tasks are known by name; only a worker imports their code.

Settings follow the Redis transport's and the thread pool's limits: see docs/architecture.md.
"""

from __future__ import annotations

import os

from celery import Celery

from llamagpu.broker import use_shared_clients

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "llamagpu.settings")

use_shared_clients()
app = Celery("llamagpu")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["inference.worker"])
app.autodiscover_tasks(["inference.openai_api"], related_name="batch_tasks")
