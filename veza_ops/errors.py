"""What can go wrong, each in one plain sentence that names the thing and how to mend it.

Here belong the errors that an operator is meant to read. Programming mistakes keep Python's own exceptions.
"""


class VezaOpsError(Exception):
    """A run can't go on. The message is for the operator and holds no secret."""

    passing = False
    """True when trying again in a moment may well help."""


class ConfigurationError(VezaOpsError):
    """A setting is wrong: an address, a folder, a path map."""


class DatabaseUnavailableError(VezaOpsError):
    """The database can't be reached for now, or cut the connection."""

    passing = True


class StatementCancelledError(DatabaseUnavailableError):
    """The server gave up a statement, as one that takes too long. It changed nothing."""


class DatabaseSilentError(VezaOpsError):
    """The database took a question and gave no answer in time. Another try would wait as long again."""


class DatabaseRefusedError(VezaOpsError):
    """The database answered, and said no: a login, a permission, a value it will not take."""


class TracksTableError(VezaOpsError):
    """The tracks table isn't what the cleanup can work on: something is missing, or nothing may be written."""


class StorageNotProvenError(VezaOpsError):
    """The files seen here are not those that the database speaks of, so no file may be called missing."""

    def __init__(self, message: str, areas: frozenset[str] = frozenset()) -> None:
        super().__init__(message)
        self.areas = areas
        """Where, if that is known."""


class TooSlowError(VezaOpsError):
    """What was seen would be too old by the time that it could be acted on."""


class DagsterSilentError(VezaOpsError):
    """Dagster's own storage gave no answer, or an error."""

    passing = True


class RunEndedError(VezaOpsError):
    """Somebody has ended the run, or it is past its time: nothing more is written."""
