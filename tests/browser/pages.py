"""Every page of the portal, its title, and who may open it."""

from __future__ import annotations

from dataclasses import dataclass

ADMIN, OPERATOR, USER, GUEST, STRANGER = CALLERS = (
    "admin",
    "operator",
    "user",
    "guest",
    "stranger",
)
SIGNED_IN = (ADMIN, OPERATOR, USER, GUEST)
STAFF = (ADMIN, OPERATOR)
WRITERS = (ADMIN, OPERATOR, USER)


@dataclass(frozen=True)
class Page:
    path: str
    title: str
    opens_for: tuple[str, ...] = SIGNED_IN


PAGES = (
    Page("/", "Overview"),
    Page("/playground", "Playground", WRITERS),
    Page("/models", "Models"),
    Page("/plugins", "Plugins"),
    Page("/jobs", "Jobs", WRITERS),
    Page("/monitoring", "Monitoring"),
    Page("/alerts", "Alerts"),
    Page("/keys", "API keys"),
    Page("/usage", "Usage"),
    Page("/users", "Users", STAFF),
    Page("/limits", "Limits", STAFF),
    Page("/roles", "Roles", STAFF),
    Page("/settings", "Settings", STAFF),
    Page("/audit", "Audit log", STAFF),
    Page("/logs", "Log", STAFF),
    Page("/api/docs/", "API", CALLERS),
    Page("/account/", "Profile"),
    Page("/account/password/", "Password"),
    Page("/account/second-factor/", "Second factor"),
)
# What a stranger sees; who has signed in is led on from some of them.
PUBLIC_PAGES = (
    Page("/", "LLaMA GPU", (STRANGER,)),
    Page("/login/", "Sign in", (STRANGER,)),
    Page("/password-reset/", "Password forgotten", (STRANGER,)),
)
# Addresses that answer a GET but are no page of their own, each for its reason.
NOT_WALKED = {
    "account/second-factor/enrol/": "a step of setting up the second factor",
    "account/second-factor/off/": "a form that opens only with a second factor",
    "login/code/": "a step of signing in",
    "login/second-factor/": "a step of signing in",
    "login/sso/": "leads away",
    "login/sso/callback/": "a step of signing in",
    "language": "takes a choice",
    "offline": "goes away as soon as the server answers: tested by itself",
    "service-worker.js": "a script",
    "livez": "a probe",
    "readyz": "a probe",
    "metrics": "for Prometheus",
    "socket.io/": "a protocol",
    "account/second-factor/codes/": "opens only with a second factor",
}
# Pages of one thing; `{job}` is one that a test has made.
DETAILS = (
    Page("/models/smollm2-135m-instruct", "smollm2-135m-instruct"),
    Page("/plugins/pii_redactor", "PII redactor"),
    Page("/jobs/{job}", "Job", (ADMIN,)),
    Page("/alerts?tab=rules", "Alerts"),
    Page("/alerts?tab=silences", "Alerts"),
    Page("/alerts?tab=channels", "Alerts", (ADMIN,)),
    Page("/api/docs/inference/", "inference · API"),
    Page("/api/docs/openai/", "OpenAI · API"),
)
# Lists in which a name with markup stands, for whom they open.
WITH_MARKUP = (
    Page("/keys", "API keys"),
    Page("/alerts?tab=rules", "Alerts"),
    Page("/alerts?tab=silences", "Alerts"),
    Page("/users", "Users", STAFF),
    Page("/roles", "Roles", STAFF),
    Page("/limits", "Limits", STAFF),
    Page("/audit", "Audit log", STAFF),
)
WIDTHS = (390, 768, 1280, 1920)
THEMES = ("light", "dark")


def pages_for(caller: str) -> list[Page]:
    return [page for page in (*PAGES, *PUBLIC_PAGES) if caller in page.opens_for]
