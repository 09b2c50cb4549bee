from __future__ import annotations

from importlib import reload
from typing import Any

from django.contrib.auth.hashers import check_password, identify_hasher, make_password

import llamagpu.settings as project_settings


def test_passwords_are_hashed_with_argon2(settings: Any) -> None:
    settings.PASSWORD_HASHERS = reload(project_settings).PASSWORD_HASHERS
    encoded = make_password("a good password")
    assert identify_hasher(encoded).algorithm == "argon2"
    assert check_password("a good password", encoded)
