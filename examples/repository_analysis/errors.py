"""Why a repository cannot be analysed: one class for each outcome, and whether trying again can help."""

from typing import ClassVar


class RepositoryError(Exception):
    """Base of every outcome that is not a report; its message is written for the person who submitted."""

    permanent: ClassVar[bool] = True


class RefusedRepository(RepositoryError, ValueError):
    """The address or the ref is not of a form that is safe to hand to git."""


class NotARepository(RepositoryError):
    """There is no git repository there, or it is not for these credentials."""


class EmptyRepository(RepositoryError):
    """The repository has no commits yet."""


class UnknownRef(RepositoryError):
    """The repository has commits, but none of that name."""


class TooLarge(RepositoryError):
    """More files or bytes than the request's limits allow."""


class BrokenRepository(RepositoryError):
    """Git cannot read the repository's objects: damaged, or a partial clone."""


class CannotFetch(RepositoryError):
    """The remote could not be reached or gave up in the middle; another attempt may succeed."""

    permanent: ClassVar[bool] = False


class FetchTimeout(CannotFetch):
    """The remote did not deliver before the deadline."""


class AnalysisCancelled(RepositoryError):
    """Somebody asked to stop, and the analysis did so between two files."""
