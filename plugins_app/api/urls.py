from django.urls import path

from plugins_app.api.config_views import (
    PluginConfigHistoryView,
    PluginConfigRollbackView,
    PluginConfigView,
)
from plugins_app.api.upload_views import PluginUploadView
from plugins_app.api.views import (
    PluginApproveView,
    PluginLoadView,
    PluginOrderView,
    PluginReloadView,
    PluginScanView,
    PluginsView,
    PluginTryView,
    PluginUnloadView,
    PluginView,
)

urlpatterns = [
    path("plugins", PluginsView.as_view(), name="plugins"),
    path("plugins/scan", PluginScanView.as_view(), name="plugins-scan"),
    path("plugins/order", PluginOrderView.as_view(), name="plugins-order"),
    path("plugins/upload", PluginUploadView.as_view(), name="plugins-upload"),
    path("plugins/<str:slug>", PluginView.as_view(), name="plugin"),
    path("plugins/<str:slug>/approve", PluginApproveView.as_view(), name="plugin-approve"),
    path("plugins/<str:slug>/load", PluginLoadView.as_view(), name="plugin-load"),
    path("plugins/<str:slug>/reload", PluginReloadView.as_view(), name="plugin-reload"),
    path("plugins/<str:slug>/unload", PluginUnloadView.as_view(), name="plugin-unload"),
    path("plugins/<str:slug>/try", PluginTryView.as_view(), name="plugin-try"),
    path("plugins/<str:slug>/config", PluginConfigView.as_view(), name="plugin-config"),
    path(
        "plugins/<str:slug>/config/history",
        PluginConfigHistoryView.as_view(),
        name="plugin-config-history",
    ),
    path(
        "plugins/<str:slug>/config/rollback",
        PluginConfigRollbackView.as_view(),
        name="plugin-config-rollback",
    ),
]
