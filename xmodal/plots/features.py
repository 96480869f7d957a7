"""What the data look like before any training: labels, norms, correlations."""

from collections.abc import Sequence

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from xmodal.config import InputError
from xmodal.plots.style import (
    DASHES,
    INK,
    MODALITY_COLOUR,
    PALETTE,
    QUIET,
    SMALL,
    drawn_in_house_style,
    letter,
    numbers_of,
    plain_ticks,
    sheet,
    shorten,
)


@drawn_in_house_style
def label_frequencies(
    counts: np.ndarray,
    names: Sequence[str],
    labels_per_clip: np.ndarray,
    source: str,
    named: int = 5,
) -> Figure:
    """Draw how often each label occurs, by rank, and how many labels a clip has.

    Parameters
    ----------
    counts
        int[classes], clips that carry each label.
    names
        The name of each label, in the order of ``counts``.
    labels_per_clip
        int[clips], labels of each clip.
    named
        How many of the most frequent labels are named in the picture (our choice: 5).

    Raises
    ------
    InputError
        When counts and names differ in number, or no label occurs.
    """
    frequency = numbers_of(counts, "label counts")
    per_clip = numbers_of(labels_per_clip, "labels per clip").astype(int)
    if len(names) != len(frequency):
        raise InputError(
            f"{len(frequency)} label counts came with {len(names)} names: give one name a label."
        )
    order = np.argsort(-frequency, kind="stable")
    order = order[frequency[order] > 0]
    if not order.size:
        raise InputError("no label occurs in any clip: there are no frequencies to draw.")
    figure, axes = sheet(2.7, source, columns=2, width_ratios=(1.5, 1))
    ranked, rank = frequency[order], np.arange(1, len(order) + 1)

    left = axes[0, 0]
    left.loglog(rank, ranked[0] / rank, color=QUIET, linestyle=DASHES[2], linewidth=1)
    left.loglog(rank, ranked, color=PALETTE[0], marker=".", markersize=3, linewidth=0.8)
    left.set(
        xlabel="rank of the label",
        ylabel="clips",
        xlim=(0.8, max(rank[-1], 10) * 1.3),
        ylim=(0.7 * ranked[-1], 2 * ranked[0]),
    )
    if len(rank) > 2:
        # At the low end the guide line has room below it; names fill the upper right.
        at = len(rank) ** 0.42
        left.annotate(
            "∝ 1/rank",
            (at, ranked[0] / at),
            xytext=(-4, -3),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=SMALL,
            color=QUIET,
        )
    for place, (number, label) in enumerate(zip(rank, order[:named], strict=False)):
        left.annotate(
            shorten(names[label], 34),
            (number, ranked[number - 1]),
            xytext=(0.55, 0.98 - 0.07 * place),
            textcoords="axes fraction",
            va="center",
            fontsize=SMALL,
            parse_math=False,
            arrowprops={"arrowstyle": "-", "color": QUIET, "linewidth": 0.4, "shrinkB": 1},
        )
    plain_ticks(left)

    right = axes[0, 1]
    sns.histplot(
        x=per_clip,
        discrete=True,
        stat="percent",
        ax=right,
        color=PALETTE[0],
        alpha=0.75,
        edgecolor="white",
        linewidth=0.6,
    )
    mean = per_clip.mean()
    right.axvline(mean, color=INK, linestyle=DASHES[1], linewidth=0.9)
    right.annotate(
        f"mean {mean:.1f}",
        (mean, 0.97),
        xycoords=("data", "axes fraction"),
        xytext=(4, 0),
        textcoords="offset points",
        va="top",
        fontsize=SMALL,
    )
    right.set(xlabel="labels", ylabel="clips, %")
    right.xaxis.set_major_locator(MaxNLocator(7, integer=True, min_n_ticks=1))
    letter(axes, [f"how often the {len(order):,} labels occur", "labels per clip"])
    return figure


@drawn_in_house_style
def feature_norms(visual_norms: np.ndarray, audio_norms: np.ndarray, source: str) -> Figure:
    """Draw the L2 norms of both modalities, and one against the other.

    A relation between the norms of true pairs would let a length alone find the match, so the
    correlation is printed.

    Parameters
    ----------
    visual_norms, audio_norms
        float[clips], row i of both from the same clip.

    Raises
    ------
    InputError
        When the two differ in length.
    """
    visual = numbers_of(visual_norms, "visual norms")
    audio = numbers_of(audio_norms, "audio norms")
    if len(visual) != len(audio):
        raise InputError(
            f"{len(visual)} visual norms came with {len(audio)} audio norms: give both for a clip."
        )
    figure, axes = sheet(2.7, source, columns=2, width_ratios=(1.25, 1))
    left, right = axes[0]
    edges = np.histogram_bin_edges(np.concatenate([visual, audio]), bins=60)
    for name, norms, dash in (("audio", audio, DASHES[1]), ("visual", visual, DASHES[0])):
        sns.histplot(
            x=norms,
            bins=edges,
            element="step",
            stat="percent",
            ax=left,
            label=name,
            color=MODALITY_COLOUR[name],
            alpha=0.18,
            linewidth=1.2,
            linestyle=dash,
        )
    left.set(xlabel="L2 norm of the feature", ylabel="clips, %")
    left.legend(reverse=True)

    if visual.std() > 0 and audio.std() > 0:
        shades = right.hexbin(
            visual,
            audio,
            gridsize=34,
            mincnt=1,
            cmap=sns.light_palette(INK, as_cmap=True),
            linewidths=0.1,
        )
        bar = figure.colorbar(shades, ax=right, pad=0.02, aspect=28)
        bar.set_label("clips")
        bar.outline.set_visible(False)
        bar.locator = MaxNLocator(5, integer=True)
        bar.update_ticks()
        relation = f"correlation {np.corrcoef(visual, audio)[0, 1]:+.2f}".replace("-", "−")
    else:
        right.plot(visual, audio, ".", color=INK)
        relation = "norms do not vary"
    right.set(xlabel="visual norm", ylabel="audio norm")
    letter(axes, ["lengths of the features", f"the same clips: {relation}"])
    return figure


@drawn_in_house_style
def correlations(
    canonical: np.ndarray, visual_spectrum: np.ndarray, audio_spectrum: np.ndarray, source: str
) -> Figure:
    """Draw the canonical correlations, and how much variance the principal components hold.

    Parameters
    ----------
    canonical
        float[pairs] in [0, 1], canonical correlations of the visual and the audio features.
    visual_spectrum, audio_spectrum
        float[1024], float[128]: variances of the principal components, in any order.

    Raises
    ------
    InputError
        When a spectrum has no variance.
    """
    canonical = -np.sort(-numbers_of(canonical, "canonical correlations"))
    figure, axes = sheet(2.6, source, columns=2)
    left, right = axes[0]
    rank = np.arange(1, len(canonical) + 1)
    left.plot(rank, canonical, color=PALETTE[2], marker="o", markersize=2.4, linewidth=0.9)
    left.annotate(
        f"{canonical[0]:.2f}",
        (1, canonical[0]),
        xytext=(5, 2),
        textcoords="offset points",
        fontsize=SMALL,
    )
    left.set(xlabel="canonical pair", ylabel="correlation", ylim=(0, 1))

    right.plot(
        [0, 100], [0, 100], color=QUIET, linestyle=DASHES[2], linewidth=0.9, label="white noise"
    )
    for name, values, dash in (
        ("visual", visual_spectrum, DASHES[0]),
        ("audio", audio_spectrum, DASHES[1]),
    ):
        spectrum = -np.sort(-numbers_of(values, f"the {name} spectrum"))
        if spectrum.sum() <= 0:
            raise InputError(f"the {name} spectrum has no variance: all features are the same.")
        held = np.concatenate([[0], 100 * np.cumsum(spectrum) / spectrum.sum()])
        share = np.linspace(0, 100, len(held))
        right.plot(
            share,
            held,
            color=MODALITY_COLOUR[name],
            linestyle=dash,
            label=f"{name} ({len(spectrum):,} dimensions)",
        )
    right.set(
        xlabel="principal components, % of the dimensions",
        ylabel="variance held, %",
        xlim=(0, 100),
        ylim=(0, 101),
    )
    right.legend(loc="lower right")
    letter(axes, ["canonical correlations", "principal components"])
    return figure
