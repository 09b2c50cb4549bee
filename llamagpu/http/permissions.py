"""Who may call what: every view declares it, and a view that declares nothing is closed.

Rights are (resource, action) pairs that accounts resolve from the caller's role; a scope narrows
what an API key may do within its owner's rights. Resources, roles and actions are the rows and
columns of the permission matrix in docs/security.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import wraps
from typing import Any, TypeVar

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

View = TypeVar("View", bound=Callable[..., Any])


class Resource(StrEnum):
    SYSTEM_CONFIG = "system_config"
    PLUGINS = "plugins"
    MODELS = "models"
    INFERENCE = "inference"
    MONITORING = "monitoring"


class Action(StrEnum):
    READ = "read"
    WRITE = "write"


class Scope(StrEnum):
    """What a key may be limited to. An empty list on a key means all that its owner may do."""

    INFER = "infer"
    BATCH = "batch"
    MODELS_READ = "models:read"
    MODELS_WRITE = "models:write"
    PLUGINS_READ = "plugins:read"
    PLUGINS_WRITE = "plugins:write"
    METRICS = "metrics"
    AUDIT = "audit"
    ADMIN = "admin"


class LimitGroup(StrEnum):
    """Which of a caller's rates a view counts against: its `limit_group`, else SYSTEM."""

    INFERENCE = "inference"
    BATCH = "batch"
    PLUGINS = "plugins"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Access:
    """One right: the caller's role must grant it and the caller's key, if any, must carry the scope."""

    resource: Resource
    action: Action
    scope: Scope


@dataclass(frozen=True, slots=True)
class Public:
    """Open to everybody, on purpose; `reason` says why."""

    reason: str


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Open to every authenticated caller for their own things; `scope` is what a key needs for it."""

    scope: Scope | None = None


Rule = Access | Public | SignedIn
#: Either one rule for all methods or a rule per method.
Declaration = Rule | Mapping[str, Rule]

INFER = Access(Resource.INFERENCE, Action.WRITE, Scope.INFER)
INFER_BATCH = Access(Resource.INFERENCE, Action.WRITE, Scope.BATCH)
READ_JOBS = Access(Resource.INFERENCE, Action.READ, Scope.INFER)
READ_MODELS = Access(Resource.MODELS, Action.READ, Scope.MODELS_READ)
READ_PLUGINS = Access(Resource.PLUGINS, Action.READ, Scope.PLUGINS_READ)
WRITE_MODELS = Access(Resource.MODELS, Action.WRITE, Scope.MODELS_WRITE)
WRITE_PLUGINS = Access(Resource.PLUGINS, Action.WRITE, Scope.PLUGINS_WRITE)
READ_MONITORING = Access(Resource.MONITORING, Action.READ, Scope.METRICS)
#: Alert rules, silences and where alerts are sent; a narrow key that reads figures changes nothing.
WRITE_MONITORING = Access(Resource.MONITORING, Action.WRITE, Scope.ADMIN)
#: What only the owner may do, or a key that stands for the owner in everything.
OWN_ACCOUNT = SignedIn(Scope.ADMIN)
#: Users, roles, others' keys, limits and configuration are the system's configuration.
READ_SYSTEM = Access(Resource.SYSTEM_CONFIG, Action.READ, Scope.ADMIN)
WRITE_SYSTEM = Access(Resource.SYSTEM_CONFIG, Action.WRITE, Scope.ADMIN)
READ_AUDIT = Access(Resource.SYSTEM_CONFIG, Action.READ, Scope.AUDIT)


def declare_access(rule: Declaration) -> Callable[[View], View]:
    """Marks and guards a function view. The system check `llamagpu.E001` finds those without."""

    def mark(view: View) -> View:
        @wraps(view)
        def guarded(request: Any, *args: Any, **kwargs: Any) -> Any:
            from llamagpu.http.pages import refuse  # which needs the rules above

            return refuse(guarded, request) or view(request, *args, **kwargs)

        guarded.access = rule  # type: ignore[attr-defined]
        return guarded  # type: ignore[return-value]

    return mark


def rule_for(view: object, method: str) -> Rule | None:
    """The rule that `view` declares for `method`, or None: closed. HEAD and OPTIONS follow GET."""
    declared = getattr(view, "access", None)
    if not isinstance(declared, Mapping):
        return declared
    if method in declared:
        return declared[method]
    if method in ("HEAD", "OPTIONS"):
        return declared.get("GET") or next(iter(declared.values()), None)
    return None


def allows(rule: Rule | None, user: Any, key: Any) -> bool:
    """Whether `user`, calling with `key` (None for a session), may pass `rule`."""
    if isinstance(rule, Public):
        return True
    if rule is None or not user or not user.is_authenticated:
        return False
    if isinstance(rule, SignedIn):
        return rule.scope is None or key is None or key.has_scope(rule.scope)
    granted: bool = user.can(rule.resource, rule.action)
    return granted and (key is None or key.has_scope(rule.scope))


class DeclaredAccess(BasePermission):
    """REST framework's door: asks the view's declaration, denies without one."""

    message = "Your role or your key does not allow this."

    def has_permission(self, request: Request, view: Any) -> bool:
        if request.method not in view.allowed_methods:
            return True  # no handler will run: let the framework answer 405
        if allows(rule_for(view, request.method or ""), request.user, request.auth):
            return True
        # Throttles come after this: who may not call is counted all the same, and told what is left.
        # The schema's generator only asks what to show.
        if not getattr(view, "swagger_fake_view", False):
            view.check_throttles(request)
        return False
