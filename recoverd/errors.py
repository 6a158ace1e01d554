"""The errors of recoverd. Each class says what the person, or the program, that meets it does next.

RecoverdError                 a sentence, then a hint with the operator's next move
├── TryAgain                  a passing fault: the same call may succeed later
│   ├── Unreachable           no answer from a host, a database or a service in time
│   ├── TimedOut              it answered, but did not finish in time: its effect is unknown
│   └── Busy                  another run holds the target
├── Refused                   a rule says no, before anything was changed
│   ├── Invalid               the input is wrong: an inventory, an argument, a request
│   ├── NotAllowed            this person may not do this
│   ├── NotNow                not yet, or not as things look: the same request may be right a little later
│   ├── Stale                 the world has moved on: an old epoch, an old alert, an old plan
│   │   ├── Expired           nobody answered a gate in time
│   │   └── GaveWay           another run has the target; this one goes on by itself when that has ended
│   └── Unsafe                doing it could lose data or give two primaries
└── Look                      something was changed, or may have been: a person must look
    ├── Unproven              the effect could not be confirmed
    └── Tampered              a record does not match its hash
"""

from __future__ import annotations


class RecoverdError(Exception):
    """The root of all errors that recoverd raises on purpose.

    Args:
        message: A lowercase sentence without a full stop that says what is wrong.
        hint: The operator's next move.
    """

    exit_code = 1
    passes = False
    """Whether the reason passes by itself, so that the same request may succeed later."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nHINT: {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[type[RecoverdError], tuple[str, str]]:
        """Keep the hint when the error crosses a process border."""
        return (type(self), (self.message, self.hint))


class TryAgain(RecoverdError):
    """A passing fault: the same call may succeed later."""

    exit_code = 6
    passes = True


class Unreachable(TryAgain):
    """No answer from a host, a database or a service in time."""


class TimedOut(TryAgain):
    """It answered, but did not finish in time: its effect is unknown until someone asks."""


class Busy(TryAgain):
    """Another run holds the target."""


class Refused(RecoverdError):
    """A rule says no. Nothing was changed."""

    exit_code = 3


class Invalid(Refused):
    """The input is wrong: an inventory, an argument, a request."""

    exit_code = 2


class NotAllowed(Refused):
    """This person may not do this."""


class NotNow(Refused):
    """Not yet, or not as things look: the same request may be right a little later."""

    passes = True


class Stale(Refused):
    """The world has moved on: an old epoch, an old alert, an old plan."""


class Expired(Stale):
    """Nobody answered a gate in time."""


class GaveWay(Stale):
    """Another run has the target; this one goes on by itself when that has ended.

    Args:
        by: The other run's id.
    """

    exit_code = 4

    def __init__(self, message: str, hint: str = "", by: str = "") -> None:
        super().__init__(message, hint)
        self.by = by

    def __reduce__(self) -> tuple[type[GaveWay], tuple[str, str, str]]:  # type: ignore[override]
        """Keep all of it when the error crosses a process border."""
        return (type(self), (self.message, self.hint, self.by))


class Unsafe(Refused):
    """Doing it could lose data or give two primaries."""


class Look(RecoverdError):
    """Something was changed, or may have been: a person must look."""

    exit_code = 1


class Unproven(Look):
    """The effect of a change could not be confirmed."""


class Tampered(Look):
    """A record does not match its hash."""
