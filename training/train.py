"""Train a bundled model: `python -m gatescope.training.train sift-softmax --tokens 16e6`.

Run it again to go on after any stop.

The state is written every 45 seconds, atomically; a batch depends on the seed and its number only, so that two models
trained with one seed see the same text in the same order. With `--tokens` a resumed run equals an uninterrupted one
step for step; with `--minutes` the schedule follows the time spent training. Weights are kept along the way, at every
doubling of the steps, so that routing can be compared over training.
"""

import json
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedConfig, PreTrainedModel

from gatescope.hooks.loading.threads import processors
from gatescope.routing.errors import GatescopeError, OptionError
from gatescope.training.architecture import Architecture, architecture, fresh_model, routers
from gatescope.training.balance import RouterTap, batch_load, load_figures
from gatescope.training.corpus import DEFAULT_FOLDER
from gatescope.training.memory import keep_freed_memory
from gatescope.training.prepare import prepare
from gatescope.training.tokens import Sampler

RUNS = Path(".cache/runs")
"""Where runs are kept, one folder a model."""


@dataclass(frozen=True)
class Recipe:
    """The numbers of a training run. Exactly one of `minutes` and `tokens` says how long it is."""

    minutes: float | None = None
    tokens: int | None = None
    seed: int = 20
    step_tokens: int = 4096
    lengths: tuple[int, ...] = (256, 256, 256, 1024)
    learning_rate: float = 3e-3
    final_share: float = 0.02
    constant_until: float = 0.55
    warmup_steps: int = 60
    weight_decay: float = 0.05
    load_memory: float = 0.9
    clip: float = 1.0
    first_kept_step: int = 32

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.tokens is None):
            raise OptionError(
                f"minutes={self.minutes} and tokens={self.tokens}",
                expected="exactly one of them",
                do="pass --minutes to train for a time, or --tokens to train on a number of tokens",
            )


@dataclass
class State:
    """How far a run is; everything but the weights that a resumed run needs."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    load_le: Tensor = field(default_factory=lambda: torch.empty(0))

    def progress(self, recipe: Recipe) -> float:
        """Share of the run that is done, 0 to 1, by tokens or by time."""
        done = self.tokens / recipe.tokens if recipe.tokens else self.seconds / (60 * (recipe.minutes or 1.0))
        return min(1.0, done)


def pace(recipe: Recipe, progress: float) -> float:
    """Constant at 1, then linear to `final_share` at progress 1."""
    left = max(0.0, (1 - progress) / (1 - recipe.constant_until))
    return max(recipe.final_share, min(1.0, left))


def learning_rate(recipe: Recipe, step: int, progress: float) -> float:
    """Linear warm-up over the first steps, then the peak rate at the `pace` of the run."""
    warm = min(1.0, (step + 1) / recipe.warmup_steps)
    return recipe.learning_rate * warm * pace(recipe, progress)


class Trainer:
    """One training run in one folder: the model, its optimiser and its state."""

    def __init__(
        self, recipe: Recipe, shape: Architecture, config: PreTrainedConfig, sampler: Sampler, folder: Path
    ) -> None:
        self.recipe, self.sampler, self.folder = recipe, sampler, folder
        self.balancer = shape.balancer()
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = fresh_model(config, recipe.seed)
        self.model.to(self.device)  # type: ignore[arg-type]  # transformers wraps the signature
        self.model.set_experts_implementation("grouped_mm")
        self.tap = RouterTap(routers(self.model))
        self.optimiser = _optimiser(self.model, recipe)
        even_le = torch.full((len(self.tap.gates), self.tap.experts), 1 / self.tap.experts, device=self.device)
        self.state = State(load_le=even_le)
        folder.mkdir(parents=True, exist_ok=True)
        config.save_pretrained(folder)
        self._resume()

    @property
    def checkpoint(self) -> Path:
        """The file that holds the latest state."""
        return self.folder / "checkpoint.pt"

    @property
    def log(self) -> Path:
        """The JSON-lines file of figures along the run."""
        return self.folder / "log.jsonl"

    def save(self) -> None:
        """Write the whole state under a temporary name, then rename: a kill leaves the old file or the new one."""
        parts = {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict()}
        scratch = self.checkpoint.with_suffix(".part")
        torch.save(parts | {"state": vars(self.state), "recipe": asdict(self.recipe)}, scratch)
        scratch.replace(self.checkpoint)

    def keep(self) -> None:
        """Write the weights alone, parameters in bfloat16, to a file that stays: `kept-<step>.pt`."""
        weights = {name: buffer.cpu() for name, buffer in self.model.state_dict().items()}
        weights |= {name: value.detach().to("cpu", torch.bfloat16) for name, value in self.model.named_parameters()}
        scratch = self.folder / "kept.part"
        torch.save({"model": weights, "step": self.state.step, "tokens": self.state.tokens}, scratch)
        scratch.replace(self.folder / f"kept-{self.state.step:06d}.pt")

    def _resume(self) -> None:
        if not self.checkpoint.exists():
            self.log.write_text("")
            return
        parts = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        self.model.load_state_dict(parts["model"])
        self.optimiser.load_state_dict(parts["optimiser"])
        self.state = State(**parts["state"])
        kept = [line for line in self.log.read_text().splitlines() if json.loads(line)["step"] <= self.state.step]
        self.log.write_text("".join(f"{line}\n" for line in kept))

    def step(self) -> dict[str, Any]:
        """Take one optimisation step and return its figures."""
        started, recipe, state = time.monotonic(), self.recipe, self.state
        rate = learning_rate(recipe, state.step, state.progress(recipe))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        length = recipe.lengths[state.step % len(recipe.lengths)]
        ids = torch.from_numpy(self.sampler.batch(state.step, recipe.step_tokens // length, length)).to(self.device)
        figures = self._descend(ids)
        state.step += 1
        state.tokens += ids.shape[0] * length
        state.seconds += time.monotonic() - started
        return {"step": state.step, "tokens": state.tokens, "seconds": round(state.seconds, 1), "rate": rate, **figures}

    def _descend(self, ids_bt: Tensor) -> dict[str, float]:
        recipe, state = self.recipe, self.state
        self.tap.clear()
        with torch.autocast(self.device.type, torch.bfloat16):
            logits = self.model(ids_bt[:, :-1], use_cache=False).logits
        loss = functional.cross_entropy(logits.flatten(0, 1).float(), ids_bt[:, 1:].flatten())
        load_le = batch_load(self.tap, self.tap.experts)
        state.load_le = recipe.load_memory * state.load_le + (1 - recipe.load_memory) * load_le
        (loss + self.balancer.loss(self.tap, state.load_le)).backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.balancer.adjust(self.tap, state.load_le, pace(recipe, state.progress(recipe)))
        return {"loss": loss.item(), "gradient": norm.item()}

    def run(self, save_seconds: float = 45.0, say_steps: int = 25) -> None:
        """Train until the recipe's end, saving at least every `save_seconds`; a finished run returns at once."""
        saved = printed = time.monotonic()
        printed_tokens = self.state.tokens
        losses: list[float] = []
        if self.state.step == 0:
            self.keep()
        while self.state.progress(self.recipe) < 1 and math.isfinite(sum(losses)):
            figures = self.step()
            if self._is_doubling():
                self.keep()
            losses.append(figures["loss"])
            if self.state.step % say_steps == 0:
                speed = (self.state.tokens - printed_tokens) / (time.monotonic() - printed)
                self._say(figures | {"loss": sum(losses) / len(losses), "tokens_per_second": round(speed)})
                losses, printed, printed_tokens = [], time.monotonic(), self.state.tokens
            if time.monotonic() - saved > save_seconds:
                self.save()
                saved = time.monotonic()
        if not math.isfinite(sum(losses)):
            raise OptionError(
                f"loss {losses[-1]} at step {self.state.step}",
                expected="a finite number",
                do=f"lower the recipe's learning rate, remove {self.folder} and start again",
            )
        self.save()
        self.keep()

    def _is_doubling(self) -> bool:
        times = self.state.step / self.recipe.first_kept_step
        return times >= 1 and math.log2(times).is_integer()

    def _say(self, figures: dict[str, Any]) -> None:
        load = load_figures(self.state.load_le.cpu())
        row = figures | {"variation_l": [round(v, 3) for v in load.variation_l], "dead_l": load.dead_l}
        with self.log.open("a") as lines:
            lines.write(json.dumps(row) + "\n")
        typer.echo(
            f"step {row['step']:5d}  {row['tokens'] / 1e6:6.2f} M tokens  "
            f"{100 * self.state.progress(self.recipe):5.1f}%  loss {row['loss']:.3f}  "
            f"{row['tokens_per_second']} tokens/s  lr {row['rate']:.1e}  grad {row['gradient']:.2f}  "
            f"load CV {' '.join(f'{v:.2f}' for v in load.variation_l)}  dead {sum(load.dead_l)}"
        )


def _optimiser(model: PreTrainedModel, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW; embeddings, norms and routers are not decayed."""
    decayed: list[Tensor] = []
    free: list[Tensor] = []
    for name, parameter in model.named_parameters():
        is_matrix = parameter.ndim > 1 and "embed" not in name and "gate.weight" not in name
        (decayed if is_matrix else free).append(parameter)
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.95))


def main(
    name: Annotated[str, typer.Argument(help="The model to train: sift-softmax or sift-sigmoid.")],
    minutes: Annotated[float | None, typer.Option(help="Train for this long; the schedule follows the clock.")] = None,
    tokens: Annotated[float | None, typer.Option(help="Train on this many tokens instead.")] = None,
    corpus: Annotated[Path, typer.Option(help="Folder that gatescope.training.corpus wrote.")] = DEFAULT_FOLDER,
    runs: Annotated[Path, typer.Option(help="Folder of runs; this one's is named after the model.")] = RUNS,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: all that the machine grants.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the weights and the batches.")] = Recipe.seed,
) -> None:
    """Train, or go on training, a bundled model."""
    keep_freed_memory()
    torch.set_num_threads(threads or processors())
    try:
        shape = architecture(name)
        recipe = Recipe(minutes=minutes, tokens=int(tokens) if tokens else None, seed=seed)
        prepared = prepare(corpus)
    except GatescopeError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    sampler = Sampler(prepared.streams, seed)
    trainer = Trainer(recipe, shape, shape.configuration(prepared.tokenizer), sampler, runs / name)
    size = sum(parameter.numel() for parameter in trainer.model.parameters())
    typer.echo(f"{size / 1e6:.1f} M parameters on {trainer.device}, from step {trainer.state.step}")
    trainer.run()


if __name__ == "__main__":
    typer.run(main)
