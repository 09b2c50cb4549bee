"""The engine's typed errors; each carries the stable code that callers see."""

from __future__ import annotations

from llamagpu.lib.error_codes import ErrorCode


class EngineError(Exception):
    """Something the engine can say plainly. `message` is fit for the caller."""

    def __init__(self, message: str, code: ErrorCode = ErrorCode.INFERENCE_FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class RequestError(EngineError):
    """One request is refused; the others go on."""


class LoadError(EngineError):
    """The model cannot be served. The message names the file or the setting, and the reason."""

    def __init__(self, message: str, code: ErrorCode = ErrorCode.MODEL_LOAD_FAILED) -> None:
        super().__init__(message, code)


class NotPackableError(LoadError):
    """This model cannot be served from packed rows; one sequence at a time may still work."""


class BackendUnavailable(LoadError):
    """The backend that was asked for is not usable on this machine."""

    def __init__(self, message: str, rejected: dict[str, str] | None = None) -> None:
        """`rejected` maps each backend that was tried to the reason."""
        super().__init__(message, ErrorCode.BACKEND_UNAVAILABLE)
        self.rejected = rejected or {}


class DeviceLost(EngineError):
    """The accelerator answers nothing any more: only a new process can go on."""
