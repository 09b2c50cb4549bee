from django.urls import path

from inference.api.views import InferView, ModelsView, ModelView, StreamInferView, awaiting

urlpatterns = [
    path("infer", awaiting(InferView.as_view()), name="infer"),
    path("stream_infer", StreamInferView.as_view(), name="stream-infer"),
    path("models", ModelsView.as_view(), name="models"),
    path("models/<str:slug>", ModelView.as_view(), name="model"),
]
