"""Every error a user can cause, in one tree.

    MonitorError
    ├── ConfigError    the configuration or command line is wrong        exit code 2
    ├── SourceError    media cannot be opened, read or reached           exit code 3
    ├── ModelError     a model file is missing, damaged or unlike its card
    └── SinkError      an alert could not be delivered

The message is one line that says what was wrong and what to do. It never holds credentials. The end of a stream is no error.
"""


class MonitorError(Exception):
    """Base of all errors that are reported to people as one line instead of a traceback."""


class ConfigError(MonitorError):
    """The configuration cannot be used as it is."""


class SourceError(MonitorError):
    """A source cannot deliver media.

    `retryable` tells a network's bad day (True) from something that stays wrong until a person acts (False).
    """

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class ModelError(MonitorError):
    """A model file or its card cannot be trusted."""


class SinkError(MonitorError):
    """An alert or report could not be written or delivered."""
