"""From own files to features: decoding, encoders, extraction; needs the extra ``media``."""

from collections.abc import Iterator
from contextlib import contextmanager

from xmodal.config import InputError


@contextmanager
def extra() -> Iterator[None]:
    """Say what to install if a package of the extra cannot be imported."""
    try:
        yield
    except ImportError as error:
        raise InputError(
            f"{error.name} is not installed; own media need `pip install '.[media]'` in the "
            "project's folder, and `pip install --no-deps aisfx==0.1.2`."
        ) from None
