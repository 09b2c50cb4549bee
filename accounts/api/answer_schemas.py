"""What the calls about accounts, keys, limits and usage answer."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiResponse

from accounts.usage import COUNTS
from llamagpu.http.permissions import Resource
from llamagpu.http.schema_words import (
    DAY,
    FLAG,
    TEXT,
    TIME,
    WHOLE,
    answer,
    described,
    list_of,
    map_of,
    one_of,
    or_null,
    page,
    page_example,
    record,
    shown,
)

#: For calls that may name what is not there in their parameters.
NOT_FOUND = OpenApiResponse(description="Named by a parameter, and not there.")
_KEY = record(
    id=WHOLE,
    prefix=TEXT,
    name=TEXT,
    user=TEXT,
    state=one_of("usable", "revoked", "expired"),
    scopes=list_of(TEXT),
    allowed_models=list_of(TEXT),
    allowed_ips=list_of(TEXT),
    retention=or_null(TEXT),
    created_at=TIME,
    expires_at=or_null(TIME),
    revoked_at=or_null(TIME),
    last_used_at=or_null(TIME),
    replaces=or_null(TEXT),
    replaced_by=or_null(TEXT),
)
_KEY_EXAMPLE = {
    "id": 7, "prefix": "Ab3dE6gH", "name": "nightly", "user": "ada", "state": "usable",
    "scopes": ["infer"], "allowed_models": [], "allowed_ips": [], "retention": None,
    "created_at": "2026-11-24T20:00:00Z", "expires_at": None, "revoked_at": None,
    "last_used_at": None, "replaces": None, "replaced_by": None,
}  # fmt: skip
KEYS = shown(page(_KEY), page_example(_KEY_EXAMPLE))
KEY = shown(answer(api_key=_KEY), {"success": True, "api_key": _KEY_EXAMPLE})
NEW_KEY = shown(
    answer(key=described(TEXT, "the key itself, never shown again"), api_key=_KEY),
    {"success": True, "key": "lg_Ab3dE6gH_<43 characters>", "api_key": _KEY_EXAMPLE},
)

_RIGHTS = record(**{resource.value: one_of("", "R", "RW") for resource in Resource})
_RIGHTS_EXAMPLE = {
    "system_config": "", "plugins": "R", "models": "R", "inference": "RW", "monitoring": "R",
}  # fmt: skip
_USER = record(
    id=WHOLE,
    username=TEXT,
    role=TEXT,
    email=TEXT,
    first_name=TEXT,
    last_name=TEXT,
    is_active=FLAG,
    retention=or_null(TEXT),
    created_at=TIME,
    last_login_at=or_null(TIME),
)
_USER_EXAMPLE = {
    "id": 3, "username": "ada", "role": "user", "email": "ada@example.org", "first_name": "Ada",
    "last_name": "", "is_active": True, "retention": None,
    "created_at": "2026-11-24T20:00:00+00:00", "last_login_at": None,
}  # fmt: skip
USERS = shown(page(_USER), page_example(_USER_EXAMPLE))
USER = shown(answer(user=_USER), {"success": True, "user": _USER_EXAMPLE})
ME = shown(
    answer(
        user=_USER,
        rights=_RIGHTS,
        key=or_null(
            record(
                prefix=TEXT,
                name=TEXT,
                scopes=list_of(TEXT),
                allowed_models=list_of(TEXT),
                expires_at=or_null(TIME),
            )
        ),
    ),
    {
        "success": True,
        "user": _USER_EXAMPLE,
        "rights": _RIGHTS_EXAMPLE,
        "key": {
            "prefix": "Ab3dE6gH", "name": "nightly", "scopes": [], "allowed_models": [],
            "expires_at": None,
        },
    },
)  # fmt: skip

_ROLE = record(
    slug=TEXT, name=TEXT, description=TEXT, is_builtin=FLAG, rights=_RIGHTS, num_users=WHOLE
)
_ROLE_EXAMPLE = {
    "slug": "user", "name": "User", "description": "", "is_builtin": True,
    "rights": _RIGHTS_EXAMPLE, "num_users": 4,
}  # fmt: skip
ROLES = shown(page(_ROLE), page_example(_ROLE_EXAMPLE))
ROLE = shown(answer(role=_ROLE), {"success": True, "role": _ROLE_EXAMPLE})

_LIMITS = map_of(or_null(WHOLE))
_LIMITS_EXAMPLE = {"subject": "role:user", "limits": {"inference_per_minute": 100}}
LIMITS = shown(page(record(subject=TEXT, limits=_LIMITS)), page_example(_LIMITS_EXAMPLE))
SUBJECT_LIMITS = shown(answer(subject=TEXT, limits=_LIMITS), {"success": True, **_LIMITS_EXAMPLE})
OWN_LIMITS = shown(
    answer(
        limits=list_of(
            record(
                limit=TEXT,
                subject=TEXT,
                source=TEXT,
                value=described(WHOLE, "-1: no limit"),
                used=or_null(WHOLE),
                reserved=WHOLE,
                remaining=or_null(WHOLE),
                resets_at=or_null(TIME),
            )
        )
    ),
    {
        "success": True,
        "limits": [
            {
                "limit": "inference_per_minute", "subject": "user", "source": "role",
                "value": 100, "used": 3, "reserved": 0, "remaining": 97,
                "resets_at": "2026-11-24T20:00:42+00:00",
            }
        ],
    },
)  # fmt: skip

_COUNTS = record(**dict.fromkeys(COUNTS, WHOLE))
_COUNTS_EXAMPLE = {
    "requests": 12, "failed_requests": 0, "prompt_tokens": 444, "completion_tokens": 96,
    "cached_tokens": 30, "total_tokens": 540,
}  # fmt: skip
USAGE = shown(
    answer(
        **{"from": DAY},
        to=DAY,
        group_by=list_of(TEXT),
        results=list_of(_COUNTS),
        truncated=FLAG,
        totals=_COUNTS,
    ),
    {
        "success": True, "from": "2026-10-26", "to": "2026-11-24", "group_by": ["day"],
        "results": [{"day": "2026-11-24", **_COUNTS_EXAMPLE}], "truncated": False,
        "totals": _COUNTS_EXAMPLE,
    },
)  # fmt: skip
