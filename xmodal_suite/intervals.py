"""How a recall and its interval are written, in tables and in sentences."""

import math


def interval(value: float, low: float, high: float) -> str:
    """Write a recall with its interval, such as "9.0 [8.3, 9.7]"; alone if that is missing."""
    return f"{value:.1f}" if math.isnan(low) else f"{value:.1f} [{low:.1f}, {high:.1f}]"
