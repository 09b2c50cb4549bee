"""Django settings, driven by the environment: docs/settings.md lists every variable.

The defaults are safe for one machine: no debug pages, loopback only, secrets made at first use.
`LLAMA_PUBLIC_URL=https://…` turns on what a public deployment needs (`manage.py check --deploy`).
"""

from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import dj_database_url
from csp.constants import NONE, SELF

from llamagpu.lib.config import LlamaConfig
from llamagpu.lib.env import Env, EnvError
from llamagpu.lib.log_format import logging_config
from llamagpu.lib.redis_urls import broker_url
from llamagpu.lib.sign_in_config import SignInConfig

BASE_DIR = Path(__file__).resolve().parent.parent
_env = Env()
LLAMA = LlamaConfig.from_env(_env, BASE_DIR)
SIGN_IN = SignInConfig.from_env(_env)
_public = urlsplit(LLAMA.public_url)
_https = _public.scheme == "https"

# ------------------------------------------------------------------ secrets and hosts
SECRET_KEY = _env.secret("DJANGO_SECRET_KEY", LLAMA.data_dir / "secret_key")
SECRET_KEY_FALLBACKS = list(_env.words("DJANGO_SECRET_KEY_FALLBACKS"))
# API keys are stored as HMACs under this pepper: changing it voids every key.
API_KEY_PEPPER = _env.secret("LLAMA_KEY_PEPPER", LLAMA.data_dir / "key_pepper")
INITIAL_ADMIN_PASSWORD = _env.text("LLAMA_ADMIN_PASSWORD")
# Where `hub:` models are fetched from, the library's own hub where empty, and as whom.
HUB_ENDPOINT = _env.text("LLAMA_HUB_ENDPOINT").rstrip("/")
HUB_TOKEN = _env.text("LLAMA_HUB_TOKEN")
DEBUG = False
ALLOWED_HOSTS = list(
    _env.words("DJANGO_ALLOWED_HOSTS")
    or dict.fromkeys(
        host for host in ("localhost", "127.0.0.1", "[::1]", LLAMA.host, _public.hostname) if host
    )
)

# ------------------------------------------------------------------ applications
INSTALLED_APPS = [
    "llamagpu.admin_site.PortalAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "corsheaders",
    "rest_framework",
    "drf_spectacular",
    "axes",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "django_ratelimit",
    "llamagpu",
    "monitoring",
    "accounts",
    "plugins_app",
    "inference",
]
MIDDLEWARE = [
    "llamagpu.http.request_context.request_context_middleware",
    "llamagpu.http.security_headers.security_headers_middleware",
    "llamagpu.http.inline_middleware.InlineSecurityMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "llamagpu.http.static_files.HeldStaticMiddleware",
    "llamagpu.http.inline_middleware.InlineCSPMiddleware",
    "llamagpu.http.language.language_middleware",
    "llamagpu.http.inline_middleware.KeylessSessionMiddleware",
    "llamagpu.http.inline_middleware.InlineCommonMiddleware",
    "llamagpu.http.inline_middleware.KeylessCsrfViewMiddleware",
    "llamagpu.http.inline_middleware.KeylessAuthenticationMiddleware",
    "llamagpu.http.inline_middleware.KeylessMessageMiddleware",
    "llamagpu.http.inline_middleware.InlineXFrameOptionsMiddleware",
]
ROOT_URLCONF = "llamagpu.urls"
ASGI_APPLICATION = "llamagpu.asgi.application"
# Each address stands as documented: a redirect would turn a POST into a GET.
APPEND_SLASH = False
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "llamagpu.http.navigation.navigation",
            ],
        },
    },
]

# ------------------------------------------------------------------ database
# SQLite takes one writer at a time. IMMEDIATE makes a transaction wait for its turn at the start
# instead of failing in the middle; WAL lets readers go on meanwhile.
_SQLITE_OPTIONS = {
    "timeout": 20,
    "transaction_mode": "IMMEDIATE",
    "init_command": (
        "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;PRAGMA temp_store=MEMORY;"
        "PRAGMA mmap_size=134217728;PRAGMA journal_size_limit=67108864"
    ),
}
_database_url = _env.text("DATABASE_URL") or f"sqlite:///{LLAMA.data_dir / 'db.sqlite3'}"
try:
    _database = dj_database_url.parse(_database_url)
except (ValueError, KeyError) as error:
    raise EnvError(f"DATABASE_URL: {error}") from error
if _database["ENGINE"].endswith("sqlite3"):
    _database["OPTIONS"] = _SQLITE_OPTIONS
    # Opening a file costs more than a short call's statements; threads that live on keep theirs.
    _database["CONN_MAX_AGE"] = None
    _database["TEST"] = {"NAME": str(LLAMA.data_dir / "test.sqlite3")}
else:
    # Under ASGI a connection per thread would pile up: the driver's pool shares a few.
    _database["OPTIONS"] = {"pool": {"min_size": 1, "max_size": 16, "timeout": 10}}
    # After a restart of the server a pooled connection is dead: ask before handing it out.
    _database["CONN_HEALTH_CHECKS"] = True
DATABASES = {"default": _database}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# ------------------------------------------------------------------ people and sessions
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "accounts.backends.RoleBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/"
SESSION_ENGINE = "accounts.sessions"
SESSION_COOKIE_AGE = SIGN_IN.session_idle
PASSWORD_RESET_TIMEOUT = 3600
AXES_HANDLER = "accounts.login_guard.LoginGuard"
AXES_FAILURE_LIMIT = SIGN_IN.attempts
AXES_COOLOFF_TIME = timedelta(seconds=SIGN_IN.cooldown)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_CLIENT_IP_CALLABLE = "accounts.login_guard.address_of"
AXES_USERNAME_CALLABLE = "accounts.login_guard.name_of"
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False  # or whoever tries on keeps a name locked
AXES_DISABLE_ACCESS_LOG = True  # the audit log tells it
AXES_VERBOSE = False
AXES_SENSITIVE_PARAMETERS = ["username", "ip_address", "csrfmiddlewaretoken", "code", "next"]
SILENCED_SYSTEM_CHECKS = [
    "axes.W002",  # its middleware: the sign-in page answers by itself
    # They look for Django's by name; ours are subclasses of them, which a test looks for.
    *("security.W001", "security.W002", "security.W003"),
    "django_ratelimit.W001",  # RateCache counts in Redis as the supported caches do
]
OTP_TOTP_ISSUER = "LLaMA GPU"
if SIGN_IN.mail is not None:
    EMAIL_HOST, EMAIL_PORT = SIGN_IN.mail.host, SIGN_IN.mail.port
    EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = SIGN_IN.mail.user, SIGN_IN.mail.password
    EMAIL_USE_TLS, EMAIL_USE_SSL = SIGN_IN.mail.tls, SIGN_IN.mail.ssl
    EMAIL_TIMEOUT = 20
    DEFAULT_FROM_EMAIL = SIGN_IN.mail.sender
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"

# ------------------------------------------------------------------ transport security
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = _https
SECURE_REDIRECT_EXEMPT = [r"^livez$", r"^readyz$"]  # probes come over plain HTTP from inside
SECURE_HSTS_SECONDS = 31_536_000 if _https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = _https
SECURE_REFERRER_POLICY = "same-origin"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if LLAMA.trusted_proxy else None
CSRF_FAILURE_VIEW = "llamagpu.http.error_views.csrf_failure"
CSRF_TRUSTED_ORIGINS = [LLAMA.public_url] if _public.scheme else []
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    },
}
# Programs in pages of other sites: closed unless named, and never with our cookies.
_origins = _env.words("LLAMA_CORS_ORIGINS")
CORS_ALLOW_ALL_ORIGINS = "*" in _origins
CORS_ALLOWED_ORIGINS = [origin for origin in _origins if origin != "*"]
CORS_ALLOW_CREDENTIALS = False
CORS_URLS_REGEX = r"^/(api|v1)/"
CORS_ALLOW_HEADERS = [
    "accept",
    "authorization",
    "content-type",
    "idempotency-key",
    "last-event-id",
    "x-api-key",
    "x-request-id",
]
CORS_EXPOSE_HEADERS = [
    "idempotent-replayed",
    "retry-after",
    "x-job-id",
    "x-llamagpu-overhead-ms",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-request-id",
]
DATA_UPLOAD_MAX_MEMORY_SIZE = LLAMA.max_body_bytes
# Bodies on their way lie where files will lie: the system's own folder may be memory.
FILE_UPLOAD_TEMP_DIR = str(LLAMA.data_dir) if LLAMA.data_dir.is_dir() else None

# ------------------------------------------------------------------ static files, language, time
STATIC_URL = "static/"
STATIC_ROOT = LLAMA.data_dir / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
SERVESTATIC_USE_FINDERS = True
LANGUAGE_CODE = "en-us"
LANGUAGES = [("en", "English"), ("de", "Deutsch")]
LANGUAGE_COOKIE_AGE = 31_536_000
LOCALE_PATHS = [BASE_DIR / "locale"]
TIME_ZONE = "UTC"
USE_TZ = True

# ------------------------------------------------------------------ Redis and Celery
REDIS_URL = LLAMA.redis_url
_cache = {
    "LOCATION": REDIS_URL,
    "KEY_PREFIX": "lg:cache",
    "OPTIONS": {
        "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
        # A Redis that is away is an error: what uses the cache decides what holds then.
        "IGNORE_EXCEPTIONS": False,
        "SOCKET_CONNECT_TIMEOUT": 2,
        "SOCKET_TIMEOUT": 2,
        "CONNECTION_FACTORY": "accounts.rate_cache.SharedClients",
        # Callers beyond that many wait for their turn: an error would leave them uncounted.
        "CONNECTION_POOL_CLASS": "redis.BlockingConnectionPool",
        "CONNECTION_POOL_KWARGS": {
            "max_connections": 64,
            "timeout": 5,
            "health_check_interval": 25,
        },
    },
}
CACHES = {
    "default": {"BACKEND": "django_redis.cache.RedisCache", **_cache},
    "rates": {"BACKEND": "accounts.rate_cache.RateCache", **_cache},
}
RATELIMIT_USE_CACHE = "rates"
CELERY_BROKER_URL = broker_url(REDIS_URL)
CELERY_TASK_DEFAULT_QUEUE = "inference"
CELERY_TASK_IGNORE_RESULT = True  # answers travel in the job's stream
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_ACKS_LATE = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_REDIRECT_STDOUTS = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_POOL_LIMIT = 32
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "global_keyprefix": "lg:",
    # Who dies leaves rows and leases, by which the reaper finds its jobs within seconds: a list of messages
    # under way in Redis would cost two round trips each and give them back after half an hour.
    "ack_emulation": False,
    "socket_connect_timeout": 5,
    "socket_timeout": 30,
    "health_check_interval": 25,
}
CELERY_TASK_PUBLISH_RETRY_POLICY = {
    "max_retries": 2,
    "interval_start": 0.1,
    "interval_step": 0.2,
    "interval_max": 0.5,
}

# ------------------------------------------------------------------ REST API
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.api.authentication.ApiKeyAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": [
        "llamagpu.http.permissions.DeclaredAccess",
        "llamagpu.http.idempotency.RefuseUnusedKey",
    ],
    "DEFAULT_THROTTLE_CLASSES": ["accounts.limits.CallerThrottle"],
    "DEFAULT_PARSER_CLASSES": ["llamagpu.http.parsers.StrictJSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "llamagpu.http.negotiation.NamedForms",
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "llamagpu.http.api_description.ApiSchema",
    "EXCEPTION_HANDLER": "llamagpu.http.errors.render_exception",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "LLaMA GPU",
    "DESCRIPTION": "Self-hosted serving of large language models.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_PUBLIC": False,
    "SERVE_INCLUDE_SCHEMA": False,
    "PREPROCESSING_HOOKS": ["llamagpu.http.schema.without_alias"],
    # Not the hook that gives every enumeration a component: it cannot name `object` twice.
    "POSTPROCESSING_HOOKS": ["llamagpu.http.api_description.complete"],
    "SCHEMA_PATH_PREFIX": r"/api/",
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,  # it repeats the values
}

LOGGING = logging_config(LLAMA.log_level, LLAMA.log_format)
