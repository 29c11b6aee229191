"""How a handler says that it could not do its work, and how the SDK says that it will not start."""

from __future__ import annotations


class NotDone(Exception):
    """Raised by a handler that is *certain* that nothing happened outside.

    The SDK retries in process if `retryable`, then answers `command-failed` with effect none. `code` is a short
    machine-readable word, `message` one sentence for a person. Never raise it after a provider's time-out or an
    answer "not found": neither proves that nothing was done.
    """

    def __init__(self, code: str, message: str, *, retryable: bool = False) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retryable = retryable


class Unknown(Exception):
    """Raised by a handler that cannot tell whether its effect happened. Ends in `command-failed`, effect unknown."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class RegistrationError(TypeError):
    """A handler, or what it asks to be injected, does not fit. The message names the handler and the fix."""


class StartRefused(RuntimeError):
    """The service must not start (or go on) as things are. The message is one sentence for the operator."""


class StoreAwayError(ConnectionError):
    """The dedupe store cannot be reached. Waited out, never counted as a try."""


class StoreMovedError(RuntimeError):
    """The store is not as this owner last wrote it: another owner took over, or it went back in time.

    Nothing of the refused step was written. The runner drops what it holds, claims anew, seeks and replays. `holder` is
    the session that has the owner's name now.
    """

    def __init__(self, detail: str, holder: str | None) -> None:
        super().__init__(detail)
        self.holder = holder


class BusAwayError(ConnectionError):
    """The bus cannot be reached, or this member no longer owns the partition. Waited out, never counted as a try."""


class FenceLostError(RuntimeError):
    """Another execution took over this message while the handler ran; its result, not ours, counts."""
