"""What the data look like before any training: labels, norms, correlations, clips."""

import io
from base64 import b64decode

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from xmodal_suite.figures import style
from xmodal_suite.figures.style import DASHES, INK, MODALITIES, QUIET, Look

_GUIDE: Look = {"color": QUIET, "linestyle": DASHES[2], "linewidth": 1}


def label_frequencies(labels: pd.DataFrame, labels_per_clip: pd.DataFrame) -> Figure:
    """Draw how often each label occurs, by rank, and how many labels a clip has.

    ``labels`` has the clips and the name of each label, the most frequent first,
    ``labels_per_clip`` the clips that carry so many labels.
    """
    if labels.empty:
        return style.blank("No clip has a label.")
    ranked, rank = labels["clips"].to_numpy(float), np.arange(1, len(labels) + 1)
    per_clip, clips = labels_per_clip["labels"], labels_per_clip["clips"]
    title = (
        f"Half of the {len(labels):,} labels occur on {np.median(ranked):.0f} clips or fewer; "
        f"a clip has {np.average(per_clip, weights=clips):.1f} on average"
    )
    figure, [[left, right]] = style.sheet(3.0, columns=2, title=title, width_ratios=(1.5, 1))
    left.loglog(rank, ranked[0] / rank, **_GUIDE)
    left.loglog(rank, ranked, color=INK)
    left.set(xlim=(0.8, 1.3 * rank[-1]), ylim=(0.7 * ranked[-1], 3 * ranked[0]))
    left.set(xlabel="rank of the label", ylabel="clips that carry it")
    at, below = len(rank) ** 0.42, {"ha": "right", "va": "top", "color": QUIET}
    style.note(left, "∝ 1/rank", (at, ranked[0] / at), (-4, -3), **below)
    for place, name in list(enumerate(labels["name"]))[:10:9]:  # the first and the tenth
        left.plot(rank[place], ranked[place], "o", color=INK)
        style.note(left, style.shorten(name, 24), (rank[place], ranked[place]), (4, 7))
    style.log_ticks(left.xaxis, left.yaxis)

    right.bar(per_clip, 100 * clips / clips.sum(), color=QUIET, width=0.8)
    right.set(xlabel="labels of a clip", ylabel="clips (%)", xlim=(0.3, 10.7))
    right.xaxis.set_major_locator(MaxNLocator(7, integer=True, min_n_ticks=1))
    return figure


def feature_norms(visual_norms: np.ndarray, audio_norms: np.ndarray) -> Figure:
    """Draw the L2 norms of both modalities, (clips,), and one against the other.

    Were the norms of true pairs related, a length alone would help to find the match.
    """
    visual, audio = np.asarray(visual_norms, dtype=float), np.asarray(audio_norms, dtype=float)
    relation = "do not vary"
    if visual.std() > 0 and audio.std() > 0:
        relation = f"correlate by {np.corrcoef(visual, audio)[0, 1]:+.2f}".replace("-", "−")
    title = f"The lengths of a clip's two feature vectors {relation}"
    figure, [[left, right]] = style.sheet(3.0, columns=2, title=title, width_ratios=(1.25, 1))
    edges = np.histogram_bin_edges(np.concatenate([visual, audio]), bins=60)
    for name, values in (("visual", visual), ("audio", audio)):
        left.hist(values, edges, histtype="step", linewidth=1.3, label=name, **MODALITIES[name])
    left.set(xlabel="L2 norm of the feature", ylabel="clips")
    left.legend()

    right.hexbin(visual, audio, gridsize=34, mincnt=1, cmap="Greys", linewidths=0.1)
    tenth = pd.Series(visual).rank(method="first", pct=True).mul(10).round()
    means = pd.DataFrame({"visual": visual, "audio": audio}).groupby(tenth).mean()
    colour = MODALITIES["audio"]["color"]
    right.plot(means["visual"], means["audio"], color=colour, label="mean audio norm")
    right.set(xlabel="visual norm", ylabel="audio norm")
    right.legend(loc="lower right")
    return figure


def correlations(components: pd.DataFrame) -> Figure:
    """Draw the canonical correlations, and how much variance the principal components hold.

    ``components`` has a value for each "canonical" pair, and for each component of "visual" and
    "audio" features its variance, in any order.
    """
    values = {k: np.sort(part["value"])[::-1] for k, part in components.groupby("kind")}
    canonical = values["canonical"]
    title = (
        f"{(canonical > 0.1).sum()} of {len(canonical)} canonical correlations are above 0.1, "
        f"the largest is {canonical[0]:.2f}"
    )
    figure, [[left, right]] = style.sheet(3.0, columns=2, title=title)
    left.plot(np.arange(1, len(canonical) + 1), canonical, color=INK, marker="o", markersize=2.4)
    left.axhline(0.1, **_GUIDE)
    left.set(xlabel="canonical pair", ylabel="correlation", ylim=(0, 1))

    right.plot([0, 100], [0, 100], label="white noise", **_GUIDE)
    for name, look in MODALITIES.items():
        held = np.cumsum([0, *values[name]])
        share, label = np.linspace(0, 100, len(held)), f"{name} ({len(held) - 1:,} dimensions)"
        right.plot(share, 100 * held / held[-1], label=label, **look)
    right.set(xlabel="principal components (% of the dimensions)", ylabel="variance held (%)")
    right.set(xlim=(0, 100), ylim=(0, 101))
    right.legend(loc="lower right")
    return figure


def strips(frame: pd.DataFrame) -> Figure:
    """Draw the strip of a clip of each kind, as `xmodal_suite.own_media.seen_and_heard` has it."""
    rows = -(-len(frame) // 5)
    figure, axes = style.sheet(0.95 * rows + style.SIGNATURE, rows, 5)
    for axis in axes.flat:
        axis.axis("off")
    for axis, clip in zip(axes.flat, frame.itertuples(), strict=False):
        picture = Image.open(io.BytesIO(b64decode(clip.strip))).convert("RGB")
        axis.imshow(picture, interpolation="nearest")  # its few colours make a small file
        axis.set_title(style.shorten(clip.kind, 18))
    return figure
