"""Pages of inference."""

from __future__ import annotations

from django.urls import URLPattern, path

from inference.views.jobs import CancelJobPage, JobPage, JobsPage
from inference.views.models import ModelPage, ModelsPage
from inference.views.playground import PlaygroundPage

urlpatterns: list[URLPattern] = [
    path("playground", PlaygroundPage.as_view(), name="playground"),
    path("jobs", JobsPage.as_view(), name="jobs-page"),
    path("jobs/<uuid:job_id>", JobPage.as_view(), name="job-page"),
    path("jobs/<uuid:job_id>/cancel", CancelJobPage.as_view(), name="job-cancel"),
    path("models", ModelsPage.as_view(), name="models-page"),
    path("models/<str:slug>", ModelPage.as_view(), name="model-page"),
]
