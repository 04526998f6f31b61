"""What the library has of errors of X.509 that are no ValueErrors: they are one here, so that nobody forgets them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm


@contextlib.contextmanager
def as_value_errors() -> Iterator[None]:
    """For what reads certificates, requests, lists or keys of others. Raises ValueError with the kind of error in words."""
    try:
        yield
    except x509.InvalidVersion as error:
        raise ValueError(f"version {error.parsed_version} is none of X.509") from None
    except x509.DuplicateExtension as error:
        raise ValueError(f"the extension {error.oid.dotted_string} comes twice") from None
    except x509.UnsupportedGeneralNameType as error:
        raise ValueError(f"a name is of a kind that is not supported: {error}") from None
    except UnsupportedAlgorithm as error:
        raise ValueError(f"an algorithm is not supported: {error}") from None
