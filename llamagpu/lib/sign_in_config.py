"""How people sign in (`settings.SIGN_IN`), read once from the environment.

docs/sign-in.md explains the choices, docs/settings.md lists the variables.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import unquote, urlsplit

from llamagpu.lib.env import Env, EnvError

_MAIL_PORTS = {"smtp": 25, "smtp+tls": 587, "smtps": 465}
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_DAY = 86_400


class TotpPolicy(StrEnum):
    """Who signs in with a code beside the password."""

    OFF = "off"
    OPTIONAL = "optional"
    ADMINS = "required-for-admins"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class MailConfig:
    """A mail server. `tls` is STARTTLS, `ssl` TLS from the first byte."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    tls: bool
    ssl: bool
    sender: str

    @classmethod
    def from_env(cls, env: Env) -> MailConfig | None:
        """None without LLAMA_EMAIL_URL. Raises EnvError."""
        text = env.text("LLAMA_EMAIL_URL")
        if not text:
            return None
        problem = "LLAMA_EMAIL_URL: must look like smtp+tls://user:password@host:587"
        try:
            url = urlsplit(text)
            port = url.port
        except ValueError as error:
            raise EnvError(problem) from error
        if url.scheme not in _MAIL_PORTS or not url.hostname:
            raise EnvError(f"{problem} ({', '.join(_MAIL_PORTS)})")
        return cls(
            host=url.hostname,
            port=port or _MAIL_PORTS[url.scheme],
            user=unquote(url.username or ""),
            password=unquote(url.password or ""),
            tls=url.scheme == "smtp+tls",
            ssl=url.scheme == "smtps",
            sender=env.text("LLAMA_EMAIL_FROM", f"llamagpu@{url.hostname}"),
        )


@dataclass(frozen=True, slots=True)
class OidcConfig:
    """One OpenID Connect provider. `role_map` goes from values of the role claim to role slugs."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    scopes: tuple[str, ...]
    role_claim: str
    role_map: tuple[tuple[str, str], ...]
    default_role: str
    only: bool
    label: str

    @classmethod
    def from_env(cls, env: Env) -> OidcConfig | None:
        """None without LLAMA_OIDC_ISSUER. Raises EnvError."""
        issuer = env.text("LLAMA_OIDC_ISSUER")
        if not issuer:
            return None
        url = urlsplit(issuer)
        plain_allowed = url.scheme == "http" and url.hostname in _LOOPBACK
        if not url.hostname or not (url.scheme == "https" or plain_allowed):
            raise EnvError(f"LLAMA_OIDC_ISSUER={issuer}: must be an https:// address")
        client_id = env.text("LLAMA_OIDC_CLIENT_ID")
        if not client_id:
            raise EnvError("LLAMA_OIDC_CLIENT_ID: must be set where LLAMA_OIDC_ISSUER is")
        scopes = env.words("LLAMA_OIDC_SCOPES", ("openid", "profile", "email"))
        if "openid" not in scopes:
            raise EnvError("LLAMA_OIDC_SCOPES: must contain openid")
        return cls(
            issuer=issuer,
            client_id=client_id,
            client_secret=env.text("LLAMA_OIDC_CLIENT_SECRET"),
            scopes=scopes,
            role_claim=env.text("LLAMA_OIDC_ROLE_CLAIM", "groups"),
            role_map=_role_map(env.text("LLAMA_OIDC_ROLE_MAP")),
            default_role=env.text("LLAMA_OIDC_DEFAULT_ROLE", "none"),
            only=env.boolean("LLAMA_OIDC_ONLY", False),
            label=env.text("LLAMA_OIDC_LABEL", "Single sign-on"),
        )


@dataclass(frozen=True, slots=True)
class SignInConfig:
    """Typed and validated; times in seconds. `from_env` raises EnvError naming the variable."""

    attempts: int
    cooldown: int
    session_idle: int
    session_age: int
    totp: TotpPolicy
    mail: MailConfig | None
    oidc: OidcConfig | None

    @classmethod
    def from_env(cls, env: Env) -> SignInConfig:
        policies = tuple(policy.value for policy in TotpPolicy)
        return cls(
            attempts=env.integer("LLAMA_LOGIN_ATTEMPTS", 5, low=1, high=1000),
            cooldown=env.integer("LLAMA_LOGIN_COOLDOWN", 900, low=1, high=_DAY),
            session_idle=env.integer("LLAMA_SESSION_IDLE", 8 * 3600, low=60, high=365 * _DAY),
            session_age=env.integer("LLAMA_SESSION_AGE", 7 * _DAY, low=60, high=365 * _DAY),
            totp=TotpPolicy(env.choice("LLAMA_TOTP", TotpPolicy.OFF.value, policies)),
            mail=MailConfig.from_env(env),
            oidc=OidcConfig.from_env(env),
        )


def _role_map(text: str) -> tuple[tuple[str, str], ...]:
    """`engineers=operator,staff=user`: the first that fits counts."""
    pairs = []
    for part in text.split(","):
        if not part.strip():
            continue
        group, separator, role = part.rpartition("=")
        if not separator or not group.strip() or not role.strip():
            raise EnvError(f"LLAMA_OIDC_ROLE_MAP: '{part.strip()}' must look like group=role")
        pairs.append((group.strip(), role.strip()))
    return tuple(pairs)
