"""How evenly a model in training spreads its tokens over its experts, among the numbers that the trainer logs.

trainer = Trainer(model, args, train_dataset=texts)
RoutingCallback(every=10).joins(trainer)
trainer.train()
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gatescope.hooks.discovery.rules import InferredRule
from gatescope.hooks.live.rows.book import Book
from gatescope.hooks.live.rows.followed import Followed, core_of, followed_model
from gatescope.hooks.live.rows.passes import Pass
from gatescope.hooks.live.rows.sequences import gathered
from gatescope.hooks.recording.sink import RouteSink
from gatescope.routing.errors import OptionError

METRICS = ("largest_share", "smallest_share", "max_violation", "load_entropy", "gate_entropy")
SUMMARY: dict[str, Callable[[NDArray[np.float64]], float]] = {
    "min": np.nanmin,
    "median": np.nanmedian,
    "max": np.nanmax,
}


class Tally:
    """Assignments to every expert of every layer, and the gates' entropies, over any number of tokens."""

    def __init__(self, learnt: Sequence[InferredRule]) -> None:
        self._rules = [one.rule for one in learnt]
        experts = max(rule.experts for rule in self._rules)
        self._count_le = np.zeros((len(learnt), experts), dtype=np.int64)
        self._entropy_l, self._known_l = np.zeros(len(learnt)), np.zeros(len(learnt), dtype=np.int64)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was counted yet."""
        return not self._count_le.any()

    def add(self, ids_tlk: NDArray[np.integer], entropy_tl: NDArray[np.floating]) -> None:
        """Count more tokens; an empty slot is nobody's."""
        experts = self._count_le.shape[1]
        for layer, ids_tk in enumerate(np.moveaxis(ids_tlk, 1, 0)):
            self._count_le[layer] += np.bincount(ids_tk[ids_tk < experts].ravel(), minlength=experts)
        self._entropy_l += np.nan_to_num(entropy_tl.astype(np.float64)).sum(0)
        self._known_l += np.isfinite(entropy_tl).sum(0)

    def numbers(self) -> dict[str, NDArray[np.float64]]:
        """Each metric, layer by layer; NaN where a layer has none.

        Shares are of the layer's assignments, the violation is of Wang et al. 2024 (largest load over the mean, minus
        1), entropies are in nats.
        """
        layers = [self._load(rule.experts, self._count_le[rule.layer]) for rule in self._rules]
        with np.errstate(invalid="ignore"):
            gate_l = self._entropy_l / self._known_l
        return dict(zip(METRICS, [*np.array(layers).T, gate_l], strict=True))

    def _load(self, experts: int, count_e: NDArray[np.number]) -> tuple[float, float, float, float]:
        share_e = count_e[:experts] / max(count_e.sum(), 1)
        if not count_e.any():
            return (np.nan,) * 4
        used_e = share_e[share_e > 0]
        return (
            float(share_e.max()),
            float(share_e.min()),
            float(share_e.max() * experts - 1),
            float(-(used_e * np.log(used_e)).sum()),
        )


class RoutingCallback(TrainerCallback):
    """Adds each MoE layer's load to what a transformers Trainer logs, as "routing/layer_3/max_violation".

    Every `every`-th step is counted, the first forward pass of each of its micro-batches, padding left out; what is
    logged covers the steps since the last log. Above `max_keys` numbers, layers are summed up as min, median and max.
    Hooks are on the model from the beginning of a step to the end of that pass, whether it raises or not.
    Errors: OptionError for an option out of range.
    """

    def __init__(self, *, every: int = 1, max_keys: int = 24) -> None:
        fewest = len(METRICS) * len(SUMMARY)
        if every < 1 or max_keys < fewest:
            raise OptionError(
                f"every={every}, max_keys={max_keys}",
                expected=f"every of 1 or more, max_keys of {fewest} or more",
                do="choose larger numbers",
            )
        self.every, self.max_keys = every, max_keys
        self._followed: Followed | None = None
        self._tally: Tally | None = None
        self._hooks = ExitStack()

    def joins(self, trainer: Any) -> "RoutingCallback":
        """Take a place before the trainer's loggers, so that they are given the numbers, too.

        Added like any other callback, it comes behind them: the numbers are then in the log history alone.
        """
        trainer.callback_handler.callbacks.insert(0, self)
        return self

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Find the routers."""
        self._followed = followed_model(core_of(kwargs["model"]), None, None)
        self._tally = Tally(self._followed.learnt)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Hooks on, for the next forward pass."""
        if state.global_step % self.every == 0:
            self._listen(kwargs["model"])

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Hooks on again, for the next micro-batch of the same step."""
        self.on_step_begin(args, state, control, **kwargs)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Hooks off, should no pass have taken them off."""
        self._hooks.close()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Hooks off."""
        self._hooks.close()

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Add the numbers to what is logged of training, and begin anew."""
        logs = kwargs["logs"]
        if self._tally is None or self._followed is None or self._tally.is_empty or "loss" not in logs:
            return
        numbers = dict(_named(self._tally.numbers(), self._followed.learnt, self.max_keys))
        logs |= numbers
        if state.log_history:
            state.log_history[-1] |= numbers
        self._tally = Tally(self._followed.learnt)

    def _listen(self, model: Any) -> None:
        self._hooks.close()
        if self._followed is None or self._tally is None:
            return
        sink = RouteSink(self._followed.learnt)
        listener = _First(sink, self._followed, getattr(core_of(model), "config", None), self._tally, self._hooks)
        self._hooks.enter_context(self._followed.heard_by(model, core_of(model), listener, sink))


class _First(Book):
    """Counts one pass, then takes the hooks off."""

    def __init__(self, sink: RouteSink, followed: Followed, config: Any, tally: Tally, hooks: ExitStack) -> None:
        super().__init__(sink, tuple(one.rule for one in followed.learnt), config)
        self._tally, self._hooks = tally, hooks

    def ended(self, done: Pass, output: Any) -> None:
        self._hooks.close()
        super().ended(done, output)
        columns = gathered(self.texts)
        self._tally.add(columns["ids_tlk"], columns["entropy_tl"])

    def failed(self) -> None:
        self._hooks.close()
        super().failed()


def _named(
    numbers: dict[str, NDArray[np.float64]], learnt: Sequence[InferredRule], max_keys: int
) -> Iterator[tuple[str, float]]:
    """Names and values: a key for each layer, or, where those are too many, three for each metric."""
    per_layer = len(numbers) * len(learnt) <= max_keys
    for metric, value_l in numbers.items():
        if per_layer:
            for one, value in zip(learnt, value_l, strict=True):
                if not np.isnan(value):
                    yield f"routing/layer_{one.rule.layer}/{metric}", float(value)
        elif not np.isnan(value_l).all():
            yield from ((f"routing/{metric}/{name}", float(over(value_l))) for name, over in SUMMARY.items())
