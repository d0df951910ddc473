"""Which transformers class a configuration asks for."""

from typing import Any

import transformers
from transformers import AutoModelForCausalLM


def model_class(config: Any) -> Any:
    """The transformers class to load: the one that wrote the weights, where it has a head; else a causal model's.

    A name alone is looked up in transformers; no code that lies beside the weights is chosen by it.
    """
    written_by = next(iter(getattr(config, "architectures", None) or ()), "")
    named = getattr(transformers, written_by, None) if "For" in written_by else None
    is_own = isinstance(named, type) and issubclass(named, transformers.PreTrainedModel)
    return named if is_own and not hasattr(config, "auto_map") else AutoModelForCausalLM
