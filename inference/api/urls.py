from django.urls import path

from inference.api.batch_views import BatchesView, BatchInferView, BatchView, awaiting_batch
from inference.api.benchmark_views import BenchmarksView
from inference.api.conversation_views import ConversationsView, ConversationView
from inference.api.event_views import JobEventsView
from inference.api.job_views import (
    JobContentView,
    JobsView,
    JobTimelineView,
    JobView,
    RequestView,
)
from inference.api.model_views import (
    ModelLoadView,
    ModelProgressView,
    ModelPullView,
    ModelsView,
    ModelUnloadView,
    ModelView,
)
from inference.api.upstream_views import UpstreamView
from inference.api.views import InferView, StreamInferView, awaiting

urlpatterns = [
    path("infer", awaiting(InferView.as_view()), name="infer"),
    path("stream_infer", awaiting(StreamInferView.as_view()), name="stream-infer"),
    path("batch_infer", awaiting_batch(BatchInferView.as_view()), name="batch-infer"),
    path("benchmarks", BenchmarksView.as_view(), name="benchmarks"),
    path("batches", BatchesView.as_view(), name="batches"),
    path("batches/<uuid:batch_id>", BatchView.as_view(), name="batch"),
    path("jobs", JobsView.as_view(), name="jobs"),
    path("jobs/<uuid:job_id>", JobView.as_view(), name="job"),
    path("jobs/<uuid:job_id>/events", JobEventsView.as_view(), name="job-events"),
    path("jobs/<uuid:job_id>/content", JobContentView.as_view(), name="job-content"),
    path("jobs/<uuid:job_id>/timeline", JobTimelineView.as_view(), name="job-timeline"),
    path("requests/<str:request_id>", RequestView.as_view(), name="request"),
    path("conversations", ConversationsView.as_view(), name="conversations"),
    path("conversations/<uuid:conversation_id>", ConversationView.as_view(), name="conversation"),
    path("models", ModelsView.as_view(), name="models"),
    path("models/<str:slug>", ModelView.as_view(), name="model"),
    path("models/<str:slug>/load", ModelLoadView.as_view(), name="model-load"),
    path("models/<str:slug>/unload", ModelUnloadView.as_view(), name="model-unload"),
    path("models/<str:slug>/pull", ModelPullView.as_view(), name="model-pull"),
    path("models/<str:slug>/upstream", UpstreamView.as_view(), name="model-upstream"),
    path("models/<str:slug>/progress", ModelProgressView.as_view(), name="model-progress"),
]
