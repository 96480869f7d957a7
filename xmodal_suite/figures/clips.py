"""What clips look like."""

import io
from base64 import b64decode

import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from xmodal_suite.figures import style


def strips(frame: pd.DataFrame) -> Figure:
    """Draw pictures of a clip of each kind, five kinds in a row.

    Columns kind and strip, a PNG in base64, as `xmodal_suite.own_media.seen_and_heard` makes it.
    """
    rows = -(-len(frame) // 5)
    figure, axes = style.sheet(0.95 * rows + style.SIGNATURE, rows, 5)
    for axis in axes.flat:
        axis.axis("off")
    for axis, clip in zip(axes.flat, frame.itertuples(), strict=False):
        picture = Image.open(io.BytesIO(b64decode(clip.strip))).convert("RGB")
        axis.imshow(picture, interpolation="nearest")  # its few colours make a small file
        axis.set_title(style.shorten(clip.kind, 18))
    return figure
