"""Colours of experts: one hue each, numbers next to each other far apart, for readers of any colour vision.

Sixteen of them: more than that cannot be told apart, so every sixteenth expert has the same, and a number always stands
beside the colour where there is room. Chosen among colours of a relative luminance from 0.085 to 0.36, so that they
stand out on white and on dark paper, for the largest least distance (CIEDE2000) over normal vision and the three kinds
of colour blindness (Machado, Oliveira and Fernandes 2009): 9.8 between any two, 21.7 between neighbours.
"""

HUES = (
    "#00695a", "#a5a569", "#9600a5", "#c387b4", "#784b78", "#b487ff", "#5a875a", "#5a0ff0",
    "#ff7800", "#b43cff", "#69781e", "#a55a78", "#4b5a00", "#8769a5", "#a50f4b", "#2db496",
)  # fmt: skip
