"""How often information at the same word is found in simulated studies, with nothing planted and with something.

`python -m tests.analysis.same_word_studies` draws them and prints how often, and how many bits on average.
"""

from dataclasses import replace
from sys import argv

import numpy as np

from gatescope.analysis.labels.composition import composition
from gatescope.simulation import Geometry, Simulation, Texts
from gatescope.simulation.effects import NONE

SHAPE = Geometry(name="small", experts=(32,) * 3, k=4)
TEXTS = Texts(tokens=20_000, documents=96, vocabulary=450)
"""Six domains in three languages, each with words of its own, used as Zipf says."""
QUESTIONS = (("domain", "language"), ("domain", ""), ("language", "domain"), ("language", ""))
"""The label, and what it is shuffled within."""
WORDS_ALONE = replace(NONE, words=0.3)


def drawn(effects, seed, *, shape=SHAPE, texts=TEXTS):
    """The record of one study."""
    return Simulation(shape, texts, effects, seed=seed).record(0, texts.documents)


def labels_of(record, name):
    """Domain or language of each document, by number."""
    return np.unique([getattr(document, name) for document in record.documents], return_inverse=True)[1]


def at_the_same_word(record, by, within="", **options):
    """What routing tells of the label at the same word, layer by layer."""
    arrays = record.ids_tlk, record.token_t, record.document_t
    strata_d = labels_of(record, within) if within else None
    layers = composition(*arrays, labels_of(record, by), strata_d=strata_d, **options)
    return [layer.given_words for layer in layers]


def studied(effects, studies, by, within="", **options):
    """Every layer of some studies: p, excess and observed bits, (studies × layers, 3)."""
    found = []
    for seed in range(studies):
        told_l = at_the_same_word(drawn(effects, seed), by, within, seed=seed, **options)
        found += [(told.p_value, told.excess_bits, told.observed_bits) for told in told_l]
    return np.array(found)


def main(studies):
    """Print one line for each question and effect."""
    effects = {"nothing planted": NONE, "words 0.3": WORDS_ALONE}
    effects |= {f"words 0.2, domains {size}": replace(NONE, words=0.2, domains=size) for size in (0.02, 0.03, 0.04)}
    for title, planted in effects.items():
        for by, within in QUESTIONS:
            found_ic = studied(planted, studies, by, within, permutations=199)
            mean_c, error = found_ic.mean(axis=0), found_ic[:, 1].std() / np.sqrt(len(found_ic))
            print(
                f"{title:25} {by:8} within {within or 'all':8} p <= 0.05 in {(found_ic[:, 0] <= 0.05).mean():.3f} of "
                f"{len(found_ic)}, beyond chance {mean_c[1]:.5f} +- {error:.5f} of {mean_c[2]:.4f} bits",
                flush=True,
            )


if __name__ == "__main__":
    main(int(argv[1]) if len(argv) > 1 else 60)
