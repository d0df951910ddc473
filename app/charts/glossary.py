"""The words of the field, each with what it means and where it is seen; and the page that shows a topic's metrics."""

from dataclasses import dataclass

from gatescope.analysis.registry import Metric

TOPICS = {
    "load_balance": "layers",
    "bias": "layers",
    "caches": "locality",
    "classes": "expert",
    "confidence": "layers",
    "context": "token",
    "domains": "domains",
    "facets": "layers",
    "languages": "domains",
    "locality": "locality",
    "pairs": "pairs",
    "paths": "pairs",
    "prediction": "domains",
    "vocabulary": "expert",
    "windows": "layers",
}
"""The page that shows the metrics of a topic; a topic is the file they are declared in."""


@dataclass(frozen=True, kw_only=True)
class Mechanism:
    """A word of the field: what it means, and the pages where it is seen."""

    name: str
    says: str
    pages: tuple[str, ...]


MECHANISMS = (
    Mechanism(
        name="Mixture of Experts (MoE)",
        says="A model in which each layer holds many small networks, the experts, and every token passes through only "
        "a few of them: much knowledge, little work for each token.",
        pages=("prompt", "model"),
    ),
    Mechanism(
        name="Token",
        says="A piece of text as the model reads it: a word, a part of one, or a sign. Every token is routed on its "
        "own, in every layer.",
        pages=("prompt", "token"),
    ),
    Mechanism(
        name="Layer",
        says="A step of the model's computation. Layers are counted from 0, those with experts alone; the block is "
        "the number among all of them.",
        pages=("layers", "model"),
    ),
    Mechanism(
        name="Expert",
        says="One of the small networks of a layer. Its number means nothing by itself: expert 3 of one layer and "
        "expert 3 of the next have nothing in common.",
        pages=("expert", "domains"),
    ),
    Mechanism(
        name="Router",
        says="The part of a layer that chooses the experts of each token. It is also called the gate.",
        pages=("prompt", "model"),
    ),
    Mechanism(
        name="Gate scores",
        says="The router gives every expert a number for every token: how well it suits. A formula such as softmax or "
        "sigmoid makes shares of them, and weights for the experts that are chosen.",
        pages=("prompt", "model"),
    ),
    Mechanism(
        name="Top-k",
        says="Only the k experts with the best scores run on a token, their outputs added up by weight. How narrowly "
        "the last of them was chosen is the margin.",
        pages=("prompt", "token"),
    ),
    Mechanism(
        name="Shared experts",
        says="Experts that run on every token, beside those that are chosen. They never appear among routes, because "
        "nothing is decided. Beside a text they stand apart, always on.",
        pages=("prompt", "model"),
    ),
    Mechanism(
        name="Fine-grained experts",
        says="Many small experts in place of few large ones, and more of them a token: the same work, in more "
        "combinations.",
        pages=("model", "layers"),
    ),
    Mechanism(
        name="Group-limited routing",
        says="Experts stand in groups, often one a machine. The best groups are chosen first, then the best experts "
        "within them, so that a token travels to few machines. Beside a text, "
        "the experts of the other groups are struck out.",
        pages=("prompt", "model", "pairs"),
    ),
    Mechanism(
        name="Selection bias",
        says="A number for each expert that is added to its score for the choice alone, raised while it has too little "
        "work. It balances the load without a loss; the weights do not feel it.",
        pages=("model", "layers"),
    ),
    Mechanism(
        name="Capacity and dropped tokens",
        says="Some models cap how many tokens an expert takes from a batch. What comes later is dropped: the slot "
        "stays empty, and the token passes the layer with fewer experts or none.",
        pages=("prompt", "layers"),
    ),
    Mechanism(
        name="Collapse",
        says="A router that is left alone may send ever more tokens to the few experts that learned first. Losses, "
        "biases and caps exist to prevent it.",
        pages=("layers", "model"),
    ),
    Mechanism(
        name="Co-activation",
        says="Two experts chosen for the same token. Busy experts meet often anyway: what counts is how much more "
        "often than their loads make them.",
        pages=("pairs",),
    ),
    Mechanism(
        name="Placement",
        says="Which device holds which expert. Experts that follow one another on one device save traffic; experts "
        "that are all busy on it make the others wait.",
        pages=("pairs", "locality"),
    ),
    Mechanism(
        name="Offloading",
        says="Keeping only some experts in fast memory and fetching the others when a token asks for them. It pays as "
        "far as neighbouring tokens use the same experts.",
        pages=("locality",),
    ),
)


def topic_of(metric: Metric) -> str:
    """The file a metric is declared in."""
    return metric.compute.__module__.rpartition(".")[2]
