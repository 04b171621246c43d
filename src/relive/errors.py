"""Every error that Relive raises on purpose, as one tree.

An error carries one line: what is wrong, where, and what to do. The command line prints that line
and leaves with `exit_code` (design, section 2).
"""


class ReliveError(Exception):
    """The work failed although the input was right."""

    exit_code = 1


class InputError(ReliveError):
    """The usage or the input is wrong: a bad value, a bad file, a missing path."""

    exit_code = 2


class FormatError(InputError):
    """A file or a packet does not follow its format: wrong magic, version, length or value."""


class MissingExtraError(InputError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed; install it with: pip install 'relive[{extra}]'"
        )


class DamagedError(ReliveError):
    """The input is damaged; what could be read was written."""

    exit_code = 3


class ModelMismatchError(ReliveError):
    """The model that a replay needs is missing or differs."""

    exit_code = 4


def refuse_folder(error: OSError) -> None:
    """Refuse a folder that cannot be read (`onerror` of `os.walk`): it would be left out.

    Raises:
        InputError: Always.
    """
    raise InputError(f"cannot read {error.filename}: {error.strerror}") from error
