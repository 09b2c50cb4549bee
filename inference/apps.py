from django.apps import AppConfig


class InferenceConfig(AppConfig):
    """WHAT: models, jobs, the seven stages from a request to its answer."""

    name = "inference"
    verbose_name = "Inference"

    def ready(self) -> None:
        from inference import (
            broker_metrics,
            deep_check,
            job_statistics,
            liveness,
            navigation,
            refused_calls,
            status,
            worker_deaths,
        )

        broker_metrics.register()
        navigation.register_entries()
        status.register()
        job_statistics.register()
        liveness.register()
        deep_check.register()
        refused_calls.register()
        worker_deaths.register()
