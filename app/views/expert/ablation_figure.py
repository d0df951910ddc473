"""What the model loses without an expert, beside experts that are as busy."""

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from gatescope.analysis.comparison.ablation import Loss, smallest_shown
from gatescope.app.charts.figure import Chart, Figure
from gatescope.app.charts.forest import forest

MOST_TEXTS = 100_000
QUESTION = "What does the model lose without it?"


def ablation_figure(found: list[Loss], documents: int, tokens: int) -> Figure:
    """What is said around the knock-out; the first is the expert, the others are its controls."""
    own, controls = found[0], found[1:]
    rise_c = [each.rise for each in controls]
    beside = (
        f"; without {len(controls)} other{'s that are' if len(controls) > 1 else ' that is'} as busy, one at a time, "
        f"by {min(rise_c):.3f} to {max(rise_c):.3f}"
        if controls
        else ""
    )
    above = sum(own.rise > rise for rise in rise_c)
    rank = f" It costs more than {above} of these {len(controls)}." if controls else ""
    return Figure(
        key="knockout",
        takeaway=(
            f"{_established(own)}Without expert {own.expert} the loss of a token rises by {own.rise:.3f} nats "
            f"(95 % interval {own.low:.3f} to {own.high:.3f}){beside}.{rank}"
        ),
        population=f"N = {tokens:,} predicted tokens of {documents} documents drawn from those that count",
        unit="nats a token, 95 % interval over documents",
        null="dotted: mean of the experts that are as busy",
        badge="causal" if own.low > 0 else "observed",
        says=(
            (f"{documents} texts", what_texts_tell(own, documents)),
            ("Without", "its weight is set to 0 for every token; the others keep theirs, and none takes its place."),
            ("Controls", "the experts of this layer whose load is nearest to its own, on the same texts."),
            ("Not this", "what a model would lose that was trained without it."),
        ),
        body=(Chart(ablation_plot(found)),),
        frame=lambda: ablation_frame(found),
    )


def _established(own: Loss) -> str:
    return "" if own.low > 0 or own.high < 0 else "Not established. "


def what_texts_tell(own: Loss, documents: int) -> str:
    """What so few texts can establish and what not, with the number that would be needed."""
    if not np.isfinite(own.spread):
        return "one text establishes nothing: there is no interval over documents."
    least = f"only a rise of {smallest_shown(own.spread, documents):.2g} nats or more shows in four of five such draws"
    if not np.isfinite(own.needed):
        return f"the loss does not change on these texts; {least}."
    size = f"about {max(2, math.ceil(own.needed)):,}" if own.needed < MOST_TEXTS else f"more than {MOST_TEXTS:,}"
    if own.low > 0 or own.high < 0:
        return (
            f"they establish that the loss of such texts changes, its interval being clear of 0, not how much, nor "
            f"where this expert ranks: {least}, and an effect of this size needs {size} texts (80 % power)."
        )
    return (
        f"not established: the interval reaches 0. An effect of this size needs {size} texts (80 % power, two-sided "
        f"test at 5 %, from the spread over these {documents}); with {documents}, {least}. That this expert matters is "
        "not shown, and that it does not is not either."
    )


def ablation_plot(found: list[Loss]) -> go.Figure:
    """The expert first, then its controls."""
    names = [f"expert {each.expert}{'' if at else ' (this one)'}" for at, each in enumerate(found)]
    rise_n, low_n, high_n = (np.array([getattr(each, end) for each in found]) for end in ("rise", "low", "high"))
    return forest(
        names,
        rise_n,
        x="rise of the loss, nats a token",
        low_n=low_n,
        high_n=high_n,
        null=float(rise_n[1:].mean()) if len(found) > 1 else None,
        null_name="as busy, mean",
        is_sure_n=low_n > 0,
    )


def ablation_frame(found: list[Loss]) -> pd.DataFrame:
    """The knock-out's data."""
    return pd.DataFrame(found, columns=Loss._fields).assign(is_control=[at > 0 for at in range(len(found))])
