"""From own files to features: decoding, encoders, extraction; needs the extra ``media``."""

from functools import partial

from xmodal import files

NEEDED = "own media need `pip install '.[media]'` and `pip install --no-deps aisfx==0.1.2`"
optional = partial(files.optional, needed=NEEDED)
