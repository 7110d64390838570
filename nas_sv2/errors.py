"""Every error that nas-sv2 raises on purpose.

::

    NasError                  exit 1
    ├── ConfigError           exit 2: a value that is not allowed: field, value, sentence
    ├── InfeasibleError       exit 3: no network of the space, or no further one, meets the budget
    ├── Rejected              a candidate broke a limit; the search loop catches it
    ├── DeviceError           a device is missing, unreachable or lacks something
    │   └── MissingRuntime    exit 2: it lacks the plan's runtime, or cannot load it
    ├── MeasurementError      a device answered, but not with a latency
    │   └── ConnectionLost    the agent there ended, or the connection to it
    ├── EvaluationError       a training gave no accuracy
    ├── StoreError            a database or file cannot be read or written
    │   └── DatabaseGone      exit 2: the database was deleted, moved or replaced
    └── OutputError           standard output or standard error cannot be written

The command line catches the root once and prints one line. Anything else is a bug.
"""

import reprlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from nas_sv2.passwords import masked

INTERRUPTED = 130
"""What the command line exits with after Ctrl-C, as shells do: 128 and the number of SIGINT."""

_SHORT = reprlib.Repr()  # a file of megabytes stays one line
_SHORT.maxstring = _SHORT.maxother = 300


def was_interrupted(error: BaseException | None) -> bool:
    """Return whether it is an interrupt, or came up while one was dealt with and hides it."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__context__
    return False


class NasError(Exception):
    """The root of the tree; `exit_code` is what the command line ends with.

    Args:
        message: The message; passwords in it are masked.
    """

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(masked(message))


class ConfigError(NasError):
    """A value that the user gave is not allowed.

    It is shown as one line: `workers must be at least 1; got 0`.

    Args:
        field: The name of the value: a parameter of a function, or a key of a file as
            `FILE: stages[0].width`.
        value: The value, as given.
        sentence: The rest of a sentence whose subject is the field: `must be at least 1`.
    """

    exit_code = 2

    def __init__(self, field: str, value: object, sentence: str) -> None:
        self.field, self.value, self.sentence = field, value, sentence
        super().__init__(self.named(field))

    def named(self, field: str) -> str:
        """Give the message with another name for the field, such as an option's."""
        if isinstance(self.value, str):
            got = _SHORT.repr(masked(self.value))
        else:
            got = " ".join(_SHORT.repr(self.value).split())  # a torch module has many lines
        return masked(f"{field} {self.sentence}; got {got}")


class InfeasibleError(NasError):
    """No network of the space, or no further one, meets the budget; names the nearest figure."""

    exit_code = 3


class Rejected(NasError):
    """A candidate broke a limit.

    Args:
        constraint: The name of the limit, as the sampler gets it.
        excess: How far beyond it the candidate is, as a share of the limit; above 0.
        reason: The same for a person.
        excesses: The known excesses of all limits, this one among them.
    """

    def __init__(
        self, constraint: str, excess: float, reason: str, excesses: Mapping[str, float]
    ) -> None:
        super().__init__(f"{constraint}: {reason}")
        self.constraint, self.excess, self.reason = constraint, excess, reason
        self.excesses = dict(excesses)


class DeviceError(NasError):
    """A device is missing, cannot be reached or lacks something that the plan needs."""


class MissingRuntime(DeviceError):
    """A device lacks the plan's runtime, or numpy, or cannot load it; names the package."""

    exit_code = 2


class MeasurementError(NasError):
    """A device answered, but not with a latency that can be trusted."""


class ConnectionLost(MeasurementError):
    """The agent on a device ended, or the connection to it; a new attempt may succeed.

    Args:
        message: How it ended.
        words: All lines that came on its stderr before.
    """

    def __init__(self, message: str, words: str = "") -> None:
        super().__init__(message)
        self.words = words


@contextmanager
def naming_network(name: str) -> Iterator[None]:
    """Name a network in a `MeasurementError` that is raised meanwhile, as one of several."""
    try:
        yield
    except ConnectionLost:  # of the whole session
        raise
    except MeasurementError as error:
        raise MeasurementError(f"{name}: {error}") from error


class EvaluationError(NasError):
    """A training ended without an accuracy."""


class StoreError(NasError):
    """A database or a file of results cannot be read or written."""


class DatabaseGone(StoreError):
    """The database was deleted, moved or replaced while it was in use."""

    exit_code = 2


class OutputError(NasError):
    """Standard output or standard error cannot be written; no message if its reader has gone."""
