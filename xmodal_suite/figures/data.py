"""What the data look like before any training: labels, norms, correlations."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from xmodal_suite.figures import style
from xmodal_suite.figures.style import DASHES, INK, MODALITIES, PALETTE, QUIET, Look


def label_frequencies(labels: pd.DataFrame, labels_per_clip: pd.DataFrame) -> Figure:
    """Draw how often each label occurs, by rank, and how many labels a clip has.

    ``labels`` has columns clips (that carry a label) and name (of the label), the most frequent
    first; ``labels_per_clip`` has columns labels and clips (that carry so many).
    """
    if labels.empty:
        return style.blank("No clip has a label.")
    figure, axes = style.sheet(2.7, columns=2, width_ratios=(1.5, 1))
    left, right = axes[0]
    ranked, rank = labels["clips"].to_numpy(float), np.arange(1, len(labels) + 1)
    left.loglog(rank, ranked[0] / rank, color=QUIET, linestyle=DASHES[2], linewidth=1)
    left.loglog(rank, ranked, color=PALETTE[0], marker=".", markersize=3, linewidth=0.8)
    left.set(xlim=(0.8, 1.3 * rank[-1]), ylim=(0.7 * ranked[-1], 2 * ranked[0]))
    left.set(xlabel="rank of the label", ylabel="clips")
    left.set_title(f"a   how often the {len(labels):,} labels occur")
    # At the low end the guide line has room below it; names fill the upper right.
    at, below = len(rank) ** 0.42, {"ha": "right", "va": "top", "color": QUIET}
    style.note(left, "∝ 1/rank", (at, ranked[0] / at), (-4, -3), **below)
    leader: Look = {"arrowstyle": "-", "color": QUIET, "linewidth": 0.4, "shrinkB": 1}
    pointed: Look = {"textcoords": "axes fraction", "arrowprops": leader}
    for place, name in enumerate(labels["name"][:5]):
        point, words = (rank[place], ranked[place]), (0.55, 0.98 - 0.07 * place)
        style.note(left, style.shorten(name, 34), point, words, **pointed)
    style.log_ticks(left.xaxis, left.yaxis)

    per_clip, clips = labels_per_clip["labels"], labels_per_clip["clips"]
    bars: Look = {"color": PALETTE[0], "alpha": 0.75, "edgecolor": "white", "linewidth": 0.6}
    sns.histplot(x=per_clip, weights=clips, discrete=True, stat="percent", ax=right, **bars)
    mean = np.average(per_clip, weights=clips)
    right.axvline(mean, color=INK, linestyle=DASHES[1], linewidth=0.9)
    top: Look = {"xycoords": ("data", "axes fraction"), "va": "top"}
    style.note(right, f"mean {mean:.1f}", (mean, 0.97), (4, 0), **top)
    right.set(title="b   labels per clip", xlabel="labels", ylabel="clips, %")
    right.xaxis.set_major_locator(MaxNLocator(7, integer=True, min_n_ticks=1))
    return figure


def feature_norms(visual_norms: np.ndarray, audio_norms: np.ndarray) -> Figure:
    """Draw the L2 norms of both modalities, and one against the other.

    Were the norms of true pairs related, a length alone would help to find the match; so their
    correlation is printed. Both arrays are (clips,).
    """
    visual, audio = np.asarray(visual_norms, dtype=float), np.asarray(audio_norms, dtype=float)
    figure, axes = style.sheet(2.7, columns=2, width_ratios=(1.25, 1))
    left, right = axes[0]
    edges = np.histogram_bin_edges(np.concatenate([visual, audio]), bins=60)
    steps: Look = {"element": "step", "stat": "percent", "alpha": 0.18, "linewidth": 1.2}
    for name, values in (("audio", audio), ("visual", visual)):
        sns.histplot(x=values, bins=edges, ax=left, label=name, **MODALITIES[name], **steps)
    left.set(xlabel="L2 norm of the feature", ylabel="clips, %")
    left.set_title("a   lengths of the features")
    left.legend(reverse=True)

    grey = sns.light_palette(INK, as_cmap=True)
    shades = right.hexbin(visual, audio, gridsize=34, mincnt=1, cmap=grey, linewidths=0.1)
    look: Look = {"pad": 0.02, "aspect": 28, "ticks": MaxNLocator(5, integer=True)}
    bar = figure.colorbar(shades, ax=right, label="clips", **look)
    bar.outline.set_visible(False)
    relation = "norms do not vary"
    if visual.std() > 0 and audio.std() > 0:
        relation = f"correlation {np.corrcoef(visual, audio)[0, 1]:+.2f}".replace("-", "−")
    right.set(title=f"b   the same clips: {relation}", xlabel="visual norm", ylabel="audio norm")
    return figure


def correlations(components: pd.DataFrame) -> Figure:
    """Draw the canonical correlations, and how much variance the principal components hold.

    ``components`` has columns kind and value: the correlations of "canonical" pairs, in [0, 1], and
    the variances of the principal components of "visual" and "audio" features, each in any order.
    """
    values = {k: np.sort(part["value"])[::-1] for k, part in components.groupby("kind")}
    canonical = values["canonical"]
    figure, axes = style.sheet(2.6, columns=2)
    left, right = axes[0]
    rank = np.arange(1, len(canonical) + 1)
    left.plot(rank, canonical, color=PALETTE[2], marker="o", markersize=2.4, linewidth=0.9)
    style.note(left, f"{canonical[0]:.2f}", (1, canonical[0]), (5, 2), va="baseline")
    left.set(title="a   canonical correlations", xlabel="canonical pair")
    left.set(ylabel="correlation", ylim=(0, 1))

    guide: Look = {"color": QUIET, "linestyle": DASHES[2], "linewidth": 0.9}
    right.plot([0, 100], [0, 100], label="white noise", **guide)
    for name, look in MODALITIES.items():
        held = np.cumsum([0, *values[name]])
        share, label = np.linspace(0, 100, len(held)), f"{name} ({len(held) - 1:,} dimensions)"
        right.plot(share, 100 * held / held[-1], label=label, **look)
    right.set(xlabel="principal components, % of the dimensions", ylabel="variance held, %")
    right.set(title="b   principal components", xlim=(0, 100), ylim=(0, 101))
    right.legend(loc="lower right")
    return figure
