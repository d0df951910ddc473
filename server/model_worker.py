"""From a text to its capture: the store first, else the model's queue; nothing is lost when the store is in trouble."""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gatescope.cache.keys import capture_id, server_secret
from gatescope.routing.errors import (
    CaptureDamagedError,
    CaptureNotFoundError,
    ModelError,
    PromptError,
    StoreError,
)
from gatescope.routing.record import Provenance, RoutingRecord
from gatescope.server.capture_cache import CaptureCache
from gatescope.server.capture_work import CaptureWork
from gatescope.server.jobs import Job, JobQueue, Phase, Tick
from gatescope.server.settings import Settings, load_chosen
from gatescope.server.sources import Source
from gatescope.server.torch_import import import_hooks

if TYPE_CHECKING:  # torch takes seconds to import: only the worker thread does it
    from gatescope.hooks import CaptureOptions, LoadedModel, Prompt

log = logging.getLogger(__name__)


class ModelWorker:
    """One model behind its queue. Made at once: the weights are read by the worker thread, see `loading`."""

    def __init__(
        self,
        name: str,
        *,
        settings: Settings,
        capture_cache: CaptureCache,
        is_present: Callable[[str], bool] = lambda _watcher: True,
    ) -> None:
        self.name, self._settings, self._capture_cache = name, settings, capture_cache
        self._secret = server_secret(settings.workspace)
        self.queue = JobQueue(
            limit=settings.queue_limit, is_present=lambda watcher: watcher == name or is_present(watcher)
        )
        self.stage = ""
        """What is being done while the model is loaded, in words."""
        self._read_last: tuple[bool, Prompt] | None = None
        self.loading: Job[LoadedModel] = self._load()

    @property
    def model(self) -> "LoadedModel | None":
        """The model once it is loaded."""
        return self.loading.result

    @property
    def token_limit(self) -> int:
        """Most tokens prompt and continuation may have together."""
        return self._model().max_tokens

    @property
    def prompt_limit(self) -> int:
        """Most tokens a prompt may have: the setting, or the model's own limit where that is smaller."""
        return min(self._settings.max_prompt_tokens, self.token_limit)

    def reload(self) -> None:
        """Try again after loading failed."""
        if self.loading.phase in (Phase.FAILED, Phase.CANCELLED):
            self.loading = self._load()

    def count_tokens(self, text: str, *, chat: bool = False) -> int:
        """How many tokens a prompt has for this model, those of the tokenizer and of the chat template included.

        White space alone is no prompt: it has none.
        """
        return len(self._read(text, chat).ids) if text.strip() else 0

    def identify(self, text: str, options: "CaptureOptions") -> str:
        """The id of the capture that this text and these options give."""
        return identify(self._model().provenance(), text, options, secret=self._secret)

    def request(self, text: str, options: "CaptureOptions", watcher: str) -> "Source | Job[Source]":
        """The capture if there is one, else the job that makes it (joined when somebody asked before).

        Errors   PromptError (blank, too long), OptionError, QueueFullError; what goes wrong later is the job's `error`
        """
        prompt = self.check(text, options)
        id = self.identify(text, options)
        notice = ""
        try:
            return self._capture_cache.find(id)
        except CaptureNotFoundError:
            pass
        except CaptureDamagedError as error:
            notice = f"The stored capture was not used: {error.found}. The text was captured again."
        except StoreError as error:
            notice = f"The stored captures could not be looked through: {error.found}."
        return self.queue.submit(id, self._work(text, prompt, options, notice), watcher=watcher)

    def remember(self, text: str, id: str) -> None:
        """Note which capture a text gave, so that a later start can show it before the model is loaded."""
        note = self._note(text)
        try:
            if not note.exists() or note.read_text("ascii") != id:
                note.write_text(id, "ascii")
        except OSError as error:
            log.warning("%s could not be noted: %s", note, error)

    def recall(self, text: str) -> Source | None:
        """The capture a text gave when this server last ran with these settings; its provenance says what made it."""
        try:
            return self._capture_cache.find(self._note(text).read_text("ascii"))
        except (OSError, UnicodeDecodeError, StoreError):
            return None

    def adopt(self, record: RoutingRecord) -> None:
        """Take in a capture made elsewhere, under the id that the same text, model and options give here."""
        text, made = record.documents[0].text, record.provenance
        id = capture_id(fingerprint=made.fingerprint, text=text, options=_recipe(made), secret=self._secret)
        self._capture_cache.keep(id, record)
        self.remember(text, id)

    def _note(self, text: str) -> Path:
        chosen = self._settings
        recipe = "\0".join((self.name, chosen.revision, chosen.device, chosen.dtype, text))
        return chosen.workspace / f"recall-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"

    def check(self, text: str, options: "CaptureOptions") -> "Prompt":
        """The text as the model reads it; refused, before anything is queued, where this server does not take it."""
        if not text.strip():
            raise PromptError("no text", expected="at least one word", do="type something, or choose an example")
        limit = self._settings.max_prompt_chars
        if len(text) > limit:
            raise PromptError(
                f"{len(text):,} characters", expected=f"at most {limit:,}", do=f"shorten it by {len(text) - limit:,}"
            )
        prompt = self._read(text, options.chat)
        tokens = len(prompt.ids)
        if tokens > self.prompt_limit:
            raise PromptError(
                f"{tokens:,} tokens",
                expected=f"at most {self.prompt_limit:,}",
                do=f"shorten the text by {tokens - self.prompt_limit:,} tokens",
            )
        self._check_new_tokens(tokens, options.max_new_tokens)
        return prompt

    def _check_new_tokens(self, tokens: int, new_tokens: int) -> None:
        most = min(self._settings.max_new_tokens, self.token_limit - tokens)
        if new_tokens > most:
            raise PromptError(
                f"{tokens:,} prompt tokens and {new_tokens:,} new ones",
                expected=f"at most {most:,} new ones after this prompt",
                do="generate fewer tokens, or shorten the text",
            )

    def close(self) -> None:
        """End the worker thread; jobs under way are cancelled."""
        self.queue.close()

    def _model(self) -> "LoadedModel":
        if self.model is None:
            raise ModelError(
                f"{self.name} is not loaded", expected="a loaded model", do="wait until it is, or read why it failed"
            )
        return self.model

    def _read(self, text: str, chat: bool) -> "Prompt":
        """A text as this model reads it; the last one is kept: what is asked for was counted while it was typed."""
        last = self._read_last
        if last is not None and last[0] == chat and last[1].text == text:
            return last[1]
        prompt = self._model().tokenise(text, chat=chat)
        self._read_last = (chat, prompt)
        return prompt

    def _load(self) -> "Job[LoadedModel]":
        return self.queue.submit("load", self._read_model, watcher=self.name)

    def _read_model(self, _tick: Tick) -> "LoadedModel":
        import_hooks()
        chosen = self._settings
        return load_chosen(chosen, self.name, on_stage=self._begin)

    def _begin(self, stage: str) -> None:
        self.stage = stage

    def _work(self, text: str, prompt: "Prompt", options: "CaptureOptions", notice: str) -> CaptureWork:
        return CaptureWork(
            model=self._model,
            cache=self._capture_cache,
            prompt=prompt,
            options=without_idle_options(options),
            identify=lambda made: self.identify(text, made),
            notice=notice,
        )


def identify(made: Provenance, text: str, options: "CaptureOptions", *, secret: bytes) -> str:
    """The id of a capture: of the weights, what they ran on and with, the text and the options that matter."""
    recipe = _recipe(replace(made, options=without_idle_options(options).as_dict()))
    return capture_id(fingerprint=made.fingerprint, text=text, options=recipe, secret=secret)


def _recipe(made: Provenance) -> dict[str, str | int | float | bool | None]:
    """What decides a capture beside its weights and its text."""
    ran_on = {"device": made.device, "dtype": made.dtype, "experts": made.experts_implementation}
    return {**made.options, **ran_on, **made.versions}


def without_idle_options(options: "CaptureOptions") -> "CaptureOptions":
    """The same options with those that change nothing at their defaults, so that equal captures have equal ids."""
    if options.sample and options.max_new_tokens:
        return options
    return replace(options, sample=False, temperature=1.0, top_p=1.0, seed=0)
