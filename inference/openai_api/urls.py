from django.urls import path

from inference.openai_api.batch_views import BatchCancelView, BatchesView, BatchView
from inference.openai_api.file_views import FileContentView, FilesView, FileView
from inference.openai_api.response_views import ResponseInputView, StoredResponseView
from inference.openai_api.views import (
    ChatCompletionsView,
    CompletionsView,
    EmbeddingsView,
    ModelsView,
    ModelView,
    ResponsesView,
    awaiting,
)

urlpatterns = [
    path("chat/completions", awaiting(ChatCompletionsView.as_view()), name="openai-chat"),
    path("completions", awaiting(CompletionsView.as_view()), name="openai-completions"),
    path("embeddings", awaiting(EmbeddingsView.as_view()), name="openai-embeddings"),
    path("responses", awaiting(ResponsesView.as_view()), name="openai-responses"),
    path("responses/<str:name>", StoredResponseView.as_view(), name="openai-response"),
    path(
        "responses/<str:name>/input_items",
        ResponseInputView.as_view(),
        name="openai-response-input",
    ),
    path("models", ModelsView.as_view(), name="openai-models"),
    path("models/<path:slug>", ModelView.as_view(), name="openai-model"),
    path("files", FilesView.as_view(), name="openai-files"),
    path("files/<str:name>", FileView.as_view(), name="openai-file"),
    path("files/<str:name>/content", FileContentView.as_view(), name="openai-file-content"),
    path("batches", BatchesView.as_view(), name="openai-batches"),
    path("batches/<str:name>", BatchView.as_view(), name="openai-batch"),
    path("batches/<str:name>/cancel", BatchCancelView.as_view(), name="openai-batch-cancel"),
]
