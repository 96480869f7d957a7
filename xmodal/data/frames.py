"""How many frames a clip has, read from the rounding of its features: a leak to know of.

A video-level feature of YouTube-8M is the mean over T frames of values that were stored in 8 bits.
Undo the scaling, and T times the feature is a vector of whole numbers. T is thus written into the
digits of both modalities, and is the same in both: who reads it matches clips by their length, to
the second, without looking or listening. Only silence, which is the same in every frame, hides it.
Our finding; the paper does not mention it.
"""

import numpy as np

from xmodal.data.yt8m import FEATURE_RANGE

LOW, HIGH = FEATURE_RANGE
"""What the least and the greatest of the 256 stored values stand for (YouTube-8M's scaling)."""
LOOKED_AT = 48
"""Dimensions that are looked at; chance cannot make so many numbers whole at once."""


def frame_counts(values: np.ndarray, most: int = 400, slack: float = 0.02) -> np.ndarray:
    """Find the smallest number of frames that makes a clip's feature a sum of whole numbers.

    Parameters
    ----------
    values : array, float32, (clips, features)
        As YouTube-8M gives them; float16 has not the digits.
    most : int
        Largest number tried; YouTube-8M keeps at most 360 seconds, a frame each.
    slack : float
        A larger number must be better by so much, as the mean distance from whole numbers: the
        multiples of T fit as well as T.

    Returns
    -------
    array, int64, (clips,)
    """
    levels = (np.asarray(values[:, :LOOKED_AT], np.float64) - LOW) * 255 / (HIGH - LOW)
    best, found = np.full(len(levels), np.inf), np.zeros(len(levels), np.int64)
    for frames in range(1, most + 1):
        sums = levels * frames
        distance = np.abs(sums - sums.round()).mean(axis=1)
        better = distance < best - slack
        best[better], found[better] = distance[better], frames
    return found
