"""How much of a word's work one expert does: of the word read, the word that follows, and the word predicted."""

from collections.abc import Callable

import numpy as np

from gatescope.analysis.labels.vocabulary import TAKEN, Specialisation, sample_of, specialisation
from gatescope.analysis.registry import MetricOptions, Result, metric
from gatescope.analysis.tally.tally import Tally

KINDS = ("the word read", "the word that follows", "the word predicted")
LEAST = 3
NEEDS = ("sampled", "tokens")
SOURCE = "OLMoE (arXiv 2409.02060), equation 8, less what chance makes of so few tokens"
NULL = "0; chance is a router with the layer's loads that does not see the word, by the number of tokens of each id"


@metric(
    title="Vocabulary specialisation",
    unit="1 (share beyond chance)",
    axes="cl",
    range=(None, 1),
    uniform="0",
    null=NULL,
    needs=NEEDS,
    source=SOURCE,
)
def vocabulary_specialisation(tally: Tally, ask: MetricOptions) -> Result:
    """How far a word, on average, is one expert's own: the share of its tokens that its commonest expert takes.

    0 is what so few tokens of the word give by chance, 1 means that one expert takes all of them. Rows are the word
    read, the word that follows and the word predicted there. Words count alike.
    Units       From a sample of a few tokens of each document, over words with three of them or more; a warning says
                how many those are.
    Undefined   NaN where no word is so common in the sample, or predictions were not recorded.
    Not this    The published share, which is 1 for every word seen once. Nor a mean over all words of the corpus: words
                met three times in a sample are frequent ones, and rare words are more specialised. Over every word of
                a record: `analysis.vocabulary.specialisation`.
    """
    return _specialisation(tally, ask, lambda layer: layer.excess_ids)


@metric(
    title="Vocabulary specialisation, by token",
    unit="1 (share beyond chance)",
    axes="cl",
    range=(None, 1),
    uniform="0",
    null=NULL,
    needs=NEEDS,
    source=SOURCE,
)
def vocabulary_specialisation_by_token(tally: Tally, ask: MetricOptions) -> Result:
    """How far the word of an average token is one expert's own: words weighed by how often they occur.

    As `vocabulary_specialisation`, where frequent words count for more.
    """
    return _specialisation(tally, ask, lambda layer: layer.excess_tokens)


def _specialisation(tally: Tally, ask: MetricOptions, read: Callable[[Specialisation], float]) -> Result:
    sample = sample_of(tally, ask)
    experts = max(rule.experts for rule in tally.layers)
    words = (sample.token_n, sample.following_n, sample.predicted_n)
    found = [specialisation(sample.ids_nlk, word_n, experts, least=LEAST) for word_n in words]
    value = np.array([[read(layer) for layer in layers] for layers in found])
    return Result(
        value=value,
        null=np.where(np.isnan(value), np.nan, 0.0),
        tokens=len(sample.token_n),
        labels={"c": KINDS},
        warnings=_warnings([layers[0] for layers in found]),
    )


def _warnings(first: list[Specialisation]) -> tuple[str, ...]:
    warnings = [f"from a sample of {TAKEN} tokens of each document, its words with {LEAST} tokens there or more"]
    for kind, layer in zip(KINDS, first, strict=True):
        if layer.ids:
            warnings.append(f"{kind}: {layer.ids} words, {100 * layer.covered:.0f} % of the sampled tokens")
        else:
            warnings.append(f"{kind}: not recorded, or no word is so common in the sample")
    return tuple(warnings)
