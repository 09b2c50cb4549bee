"""Tables of who may do what."""

from accounts.models.api_keys import ApiKey
from accounts.models.limits import UNLIMITED, LimitPolicy
from accounts.models.roles import ADMIN_ROLE, GUEST_ROLE, Role, RolePermission
from accounts.models.sign_in import RecoveryCode, SsoIdentity
from accounts.models.usage import TokenReservation, UsageDay
from accounts.models.users import RoleUserManager, User

__all__ = [
    "ADMIN_ROLE",
    "GUEST_ROLE",
    "UNLIMITED",
    "ApiKey",
    "LimitPolicy",
    "RecoveryCode",
    "Role",
    "RolePermission",
    "RoleUserManager",
    "SsoIdentity",
    "TokenReservation",
    "UsageDay",
    "User",
]
