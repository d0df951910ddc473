"""Which transformers class a configuration asks for, and the lock that building one of them wants."""

import threading
from typing import Any

import transformers
from transformers import AutoModelForCausalLM

# Held while a model is built: transformers changes what holds for the whole process (dtype, tying of weights, where
# tensors are made), and of two models built at once each would miss some.
building = threading.Lock()


def model_class(config: Any) -> Any:
    """The transformers class to load: the one that wrote the weights, where it has a head; else a causal model's.

    A name alone is looked up in transformers; no code that lies beside the weights is chosen by it.
    """
    written_by = next(iter(getattr(config, "architectures", None) or ()), "")
    named = getattr(transformers, written_by, None) if "For" in written_by else None
    is_own = isinstance(named, type) and issubclass(named, transformers.PreTrainedModel)
    return named if is_own and not hasattr(config, "auto_map") else AutoModelForCausalLM
