"""What clips look like."""

import io
from base64 import b64decode

import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from xmodal_suite.figures import style


def strips(frame: pd.DataFrame) -> Figure:
    """Draw pictures of a clip of each kind, in two columns.

    Columns kind and strip, a JPEG in base64, as `xmodal_suite.own_media.seen_and_heard` makes it.
    """
    rows = -(-len(frame) // 2)
    figure, axes = style.sheet(1.1 * rows + style.SIGNATURE, rows, 2)
    for axis in axes.flat:
        axis.axis("off")
    for axis, clip in zip(axes.flat, frame.itertuples(), strict=False):
        axis.imshow(Image.open(io.BytesIO(b64decode(clip.strip))))
        axis.set_title(style.shorten(clip.kind, 40))
    return figure
