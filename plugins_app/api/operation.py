"""What all calls about plugins share: to look is a query, to change something a plugin operation."""

from __future__ import annotations

from rest_framework.views import APIView

from llamagpu.http.permissions import LimitGroup


class PluginOperationView(APIView):
    @property
    def limit_group(self) -> LimitGroup:
        return LimitGroup.SYSTEM if self.request.method == "GET" else LimitGroup.PLUGINS
