"""The place of one answer in its grammar: which tokens may follow, and whether it is complete.

llguidance keeps a parser over the bytes of the text and knows every token's bytes. The state belongs
to the sequence and advances with the tokens that were accepted, so it does not matter how often a
step is begun again or the sequence changes its place.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from inference.engine.errors import RequestError
from llamagpu.lib.error_codes import ErrorCode

if TYPE_CHECKING:
    from llguidance import LLMatcher

logger = logging.getLogger(__name__)

_MAX_REASON_CHARS = 300


class GrammarState:
    """One thread at a time: the loop's, or the one that fills masks while the model computes."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher
        #: Why no token can follow, once something went wrong.
        self.error: str | None = None
        #: Set by `fill`: nothing but an end token may follow.
        self.must_end = False

    @property
    def is_complete(self) -> bool:
        """Whether nothing can follow: the text is a whole answer."""
        return self.error is None and bool(self._matcher.is_stopped())

    def fill(self, allowed: np.ndarray[Any, np.dtype[np.int32]], end: Any) -> None:
        """Write one bit per token id into `allowed` [words]; `end` has the bits of the end tokens.

        All bits are 0 and `error` is set where the grammar has become too complex to follow.
        """
        try:
            self._matcher.unsafe_compute_mask_ptr(allowed.ctypes.data, allowed.nbytes)
            if self._matcher.is_error():
                self.error = one_line(self._matcher.get_error())
        except BaseException as error:  # noqa: BLE001 - a Rust panic derives from BaseException
            logger.warning("a grammar failed: %s", error)
            self.error = one_line(str(error))
        if self.error is not None:
            allowed[:] = 0
            return
        self.must_end = not np.any(allowed & ~end)
        if not allowed.any():
            self.error = "no token of this model can follow"

    def accept(self, token_id: int) -> None:
        """Advance by a token that was chosen under the mask."""
        if self.error is None and not self._matcher.consume_token(token_id):
            self.error = one_line(self._matcher.get_error())


def refusal(reason: str) -> RequestError:
    """The error of a request whose grammar cannot be served."""
    return RequestError(f"response_format: {reason}", ErrorCode.INVALID_INPUT)


def failure_of(state: GrammarState | None) -> RequestError | None:
    """Why a sequence got no token, where that is its grammar's doing."""
    return None if state is None or state.error is None else refusal(state.error)


def one_line(text: str) -> str:
    """What llguidance says, fit for a caller: its first line that says something, and no more."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = lines[0] if lines else "the grammar cannot be followed"
    # A regular expression's error has its cause at the end.
    cause = next((line for line in lines[1:] if line.startswith("error:")), "")
    return f"{first} {cause}".strip()[:_MAX_REASON_CHARS]
