"""A model ready to be captured: its weights, its tokenizer, its routers and the hooks on them."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import tokenizers
import torch
import transformers
from torch import nn

from gatescope.hooks.layers.probing import input_device
from gatescope.hooks.layers.site import Site
from gatescope.hooks.loading.routers import Routers
from gatescope.hooks.loading.selfcheck_report import SelfCheckReport
from gatescope.hooks.loading.threads import Threads
from gatescope.hooks.recording.recorder import Recorder
from gatescope.hooks.text.tokens import Prompt, tokenise
from gatescope.routing.record import Provenance
from gatescope.routing.router import RouterRule

UNSAID = 10**9  # transformers writes a huge number where a tokenizer states no limit


@dataclass(eq=False, kw_only=True)
class LoadedModel:
    """A model with permanent hooks. Captures of several threads may run on it at once without mixing."""

    name: str
    revision: str
    fingerprint: str
    model: Any
    tokenizer: Any
    routers: Routers
    selfcheck: SelfCheckReport = field(default_factory=SelfCheckReport)
    threads: Threads | None = None

    @property
    def layers(self) -> tuple[RouterRule, ...]:
        """The routing rule of each MoE layer."""
        return self.routers.layers

    @property
    def sites(self) -> tuple[Site, ...]:
        """Where each MoE layer is."""
        return self.routers.sites

    @property
    def recorder(self) -> Recorder:
        """The hooks on its routers."""
        return self.routers.recorder

    @property
    def blocks_without_experts(self) -> list[int] | None:
        """The blocks of a stack that route nothing; None where there are several stacks, or no list of blocks."""
        places = {f".{rule.module}.".partition(f".{rule.block}.")[0].removeprefix(".") for rule in self.layers}
        blocks = self.model.get_submodule(places.pop()) if len(places) == 1 else None
        if not isinstance(blocks, nn.ModuleList):
            return None
        return sorted(set(range(len(blocks))) - {rule.block for rule in self.layers})

    @property
    def device(self) -> str:
        """Where the model computes, e.g. "cpu" or "cuda:0"."""
        return str(input_device(self.model))

    @property
    def dtype(self) -> str:
        """Number format of the weights, e.g. "float32"."""
        return str(self.model.dtype).removeprefix("torch.")

    @property
    def parameters(self) -> int:
        """All parameters, whether a token uses them or not."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def max_tokens(self) -> int:
        """Longest text the model was made for, prompt and generated tokens together."""
        config = self.model.config.get_text_config()
        stated = getattr(config, "max_position_embeddings", None) or self.tokenizer.model_max_length
        return int(stated) if stated < UNSAID else 131_072

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether a text is read by an encoder, and another written by a decoder."""
        return bool(getattr(self.model.config, "is_encoder_decoder", False))

    @property
    def predicts_tokens(self) -> bool:
        """Whether it puts out a score for every token of its vocabulary (a classifier does not)."""
        head = self.model.get_output_embeddings()
        return head is not None and head.weight.shape[0] >= self.model.get_input_embeddings().weight.shape[0]

    @property
    def has_chat_template(self) -> bool:
        """Whether the tokenizer can wrap a text as a chat turn."""
        return bool(getattr(self.tokenizer, "chat_template", None))

    def tokenise(self, text: str, *, chat: bool = False) -> Prompt:
        """A text as the model reads it, with its special tokens, or inside its chat template."""
        return tokenise(self.tokenizer, text, chat=chat)

    def count_tokens(self, text: str, *, chat: bool = False) -> int:
        """How many tokens a prompt has, special and template tokens included."""
        return len(self.tokenise(text, chat=chat).ids)

    def computing(self, texts: int, tokens: int) -> AbstractContextManager[None]:
        """Passes over so many tokens, in so many texts, on the number of threads that suits them."""
        return nullcontext() if self.threads is None else self.threads.used(texts, tokens)

    def provenance(self, options: Mapping[str, Any] | None = None) -> Provenance:
        """What a capture of this model is made with."""
        config = self.model.config
        return Provenance(
            model=self.name,
            revision=self.revision,
            fingerprint=self.fingerprint,
            dtype=self.dtype,
            device=self.device,
            attention=str(getattr(config, "_attn_implementation", "") or ""),
            experts_implementation=str(getattr(config, "_experts_implementation", "") or ""),
            versions={each.__name__: str(each.__version__) for each in (torch, transformers, tokenizers)},
            options=dict(options or {}),
            threads=0 if self.threads is None or self.device != "cpu" else self.threads.count,
        )
