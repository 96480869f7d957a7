"""From own files to features: decoding, encoders, extraction; needs the extra ``media``."""

from importlib import import_module
from typing import Any

from xmodal.config import InputError

INSTALL = "`pip install '.[media]'` and `pip install --no-deps aisfx==0.1.2`"


def optional(name: str, install: str = INSTALL) -> Any:
    """Import a module that comes with an extra, or say how to install it."""
    try:
        return import_module(name)
    except (ImportError, RuntimeError) as error:  # RuntimeError: made for another build of torch
        raise InputError(
            f"{name} cannot be imported ({error}); own media need {install}."
        ) from None
