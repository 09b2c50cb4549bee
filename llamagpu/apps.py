from django.apps import AppConfig
from django.core import checks


class LlamaGpuConfig(AppConfig):
    """The composition root as an application, for its commands and system checks."""

    name = "llamagpu"
    verbose_name = "LLaMA GPU"

    def ready(self) -> None:
        from llamagpu.checks import check_declared_access, check_safe_start
        from llamagpu.http.navigation import NavItem, register
        from llamagpu.http.permissions import Public

        checks.register(check_declared_access, checks.Tags.urls)
        checks.register(check_safe_start, checks.Tags.security)
        register(NavItem("API", "braces", "docs", Public("It holds no data."), 80))
