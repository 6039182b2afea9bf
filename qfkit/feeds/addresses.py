"""Folders and object stores: what goes wrong there, as errors that say the fix and no secret."""

from collections.abc import Iterator
from contextlib import contextmanager

from qfkit.errors import ConnectionFailedError, FeedError, FrameError, QfkitError
from qfkit.feeds.captures import shown

__all__ = ["reaching"]


@contextmanager
def reaching(address: str) -> Iterator[None]:
    """Whatever a file system or the client of a store raises within it becomes a named error.

    Only what the error is counts, never its text: a store's client may put a signed address or the name of a key
    there. What is no fault of the store is raised as it is.
    """
    try:
        yield
    except QfkitError:
        raise
    except Exception as error:
        named = _named(error, shown(address))
        if named is None:
            raise
        raise named from None


def _named(error: Exception, where: str) -> QfkitError | None:
    """What a file system or its client raised as an error with a fix; None for what is no fault of the store."""
    name = type(error).__name__
    place = type(error).__module__.partition(".")[0]
    if name in ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound"):
        return FeedError(
            f"{where}: there are no credentials for it ({name}): set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "AWS_PROFILE, in the environment"
        )
    if isinstance(error, FileNotFoundError) and "://" not in where:
        return FrameError(f"{where} cannot be read or written: check the path")
    if isinstance(error, FileNotFoundError):
        return FrameError(
            f"there is nothing at {where}: check the address; a bucket must be made before it is written to"
        )
    if isinstance(error, PermissionError):
        fix = (
            "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the bucket's rights"
            if "://" in where
            else "check its rights"
        )
        return FeedError(f"{where}: access is denied: {fix}")
    if place in ("botocore", "aiobotocore", "aiohttp") or isinstance(error, ConnectionError | TimeoutError):
        return ConnectionFailedError(
            f"{where} cannot be reached ({name}): check the network, the region and, for a store of your own, "
            "AWS_ENDPOINT_URL"
        )
    if isinstance(error, OSError):
        return FrameError(
            f"{where} cannot be read or written ({error.strerror or name}): check the address and its rights"
        )
    return None
