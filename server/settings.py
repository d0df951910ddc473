"""Every setting of the dashboard and the command line, each with its default and what it does.

A setting comes from the environment (`GATESCOPE_MODEL=…`), else from the TOML file named by `GATESCOPE_CONFIG`
(default `gatescope.toml` in the working directory), else from here.
"""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from gatescope.models import BUNDLED_MODELS
from gatescope.routing.errors import OptionError

if TYPE_CHECKING:
    from gatescope.hooks import LoadedModel


PROOFS = "proofs"
"""Of what was found and proven of models, a folder in `cache_dir`."""


def default_cache_dir() -> Path:
    """Where captures are kept unless said otherwise: below `$XDG_CACHE_HOME`, else `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "gatescope"


class Settings(BaseSettings):
    """What a deployment may choose. Made by `load_settings`, which turns a bad value into an `OptionError`."""

    model_config = SettingsConfigDict(
        env_prefix="GATESCOPE_", extra="forbid", frozen=True, use_attribute_docstrings=True
    )

    model: str = next(iter(BUNDLED_MODELS))
    """Model shown first: a bundled one by its name (`sift-softmax`, `sift-sigmoid`), a folder, or a hub id."""
    models: Annotated[tuple[str, ...], NoDecode] = tuple(BUNDLED_MODELS)
    """Models a visitor may choose from besides it, with commas between: `sift-sigmoid, allenai/OLMoE-1B-7B-0924`.
    Nobody can name a model that is not listed here."""
    revision: str = ""
    """Commit, tag or branch of a hub model; empty means its default branch."""
    device: str = "auto"
    """Where the model runs: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`, `spread` (over all, then memory, then disk)."""
    dtype: str = "auto"
    """Number format of the weights: `auto` (as stored; float32 for small models on a CPU), `float32`, `bfloat16`,
    `float16`."""
    threads: int = Field(default=0, ge=0, le=4096)
    """Threads that a model computes on where that is a CPU; 0: as many as a short measurement finds best, within the
    cores and the container's quota, measured again where passes become slow."""
    prove_again: bool = False
    """Prove at every start that what is recorded is what the model executes. Off: a proof made with the same weights,
    libraries, device and kernels is kept in the cache folder and is enough."""
    cache_dir: Path = Field(default_factory=default_cache_dir)
    """Folder of what is made again when it is gone: what was found and proven of models."""
    workspace: Path = Field(default_factory=lambda said: said["cache_dir"])
    """Folder of captures, studies and imports, shared by the dashboard and all commands: what either makes, the other
    shows. Not set: the folder named by `GATESCOPE_CACHE_DIR`."""
    open_paths: bool = False
    """Whether visitors may open what lies on the server's disk by typing a path into the Library. Whoever may is shown
    captures and studies of every folder that the server may read."""
    quota_bytes: int | None = Field(default=2_000_000_000, ge=1_000_000)
    """Most bytes that captures, studies and imports made in the browser may take together; beyond, the captures used
    longest ago go, and where that is not enough nothing more is taken. What commands make is not counted. `none` means
    no limit."""
    memory_bytes: int = Field(default=1_000_000_000, ge=1_000_000)
    """Most memory, in bytes, for what was read and computed last, beside the models: computed numbers, tallies, and the
    routes of studies. An answer larger than that is computed whenever it is asked for."""
    max_prompt_chars: int = Field(default=40_000, ge=1, le=2_000_000)
    """Longest text the prompt box takes, in characters."""
    max_prompt_tokens: int = Field(default=2_048, ge=1, le=1_000_000)
    """Longest prompt, in tokens of the model; a model's own limit counts where it is smaller."""
    max_new_tokens: int = Field(default=256, ge=0, le=100_000)
    """Most tokens a visitor may have generated."""
    queue_limit: int = Field(default=8, ge=0, le=10_000)
    """How many captures may wait behind the running one."""
    max_study_documents: int = Field(default=2_000, ge=1, le=1_000_000)
    """Most documents of a corpus that a visitor may study; the command line has no such limit."""
    max_study_tokens: int = Field(default=500_000, ge=100, le=1_000_000_000)
    """Most tokens of a corpus that a visitor may study."""
    library_lists: Literal["all", "shared"] = "all"
    """What the Library lists: `all`, as fits a server that one person uses, or `shared`: what ships, what was shared,
    and what this browser itself captured or opened. Texts of other visitors are then never listed."""

    @field_validator("quota_bytes", mode="before")
    @classmethod
    def _no_quota(cls, value: object) -> object:
        return None if value == "none" else value

    @field_validator("models", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _named_model(self) -> "Settings":
        if not self.model.strip() or not all(name.strip() for name in self.models):
            raise ValueError("a model has an empty name")
        return self

    @property
    def offered(self) -> tuple[str, ...]:
        """The models a visitor may choose from, the first one shown first, none twice."""
        return tuple(dict.fromkeys((self.model, *self.models)))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic passes it by this name
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - and this one
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file, the file over the defaults."""
        file = Path(os.environ.get("GATESCOPE_CONFIG", "gatescope.toml"))
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=file)


def load_settings(**given: Any) -> Settings:
    """The settings in force; `given` values win over all sources.

    Errors   OptionError naming the setting, its value and what it may be.
    """
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "model"
        raise OptionError(
            f"setting {name} is {first['input']!r}",
            expected=first["msg"],
            do=f"correct GATESCOPE_{name.upper()} in the environment, or {name} in gatescope.toml",
        ) from None
    except (TOMLDecodeError, OSError) as error:
        raise OptionError(
            f"the settings file cannot be read: {error}",
            expected="a TOML file of settings, such as: queue_limit = 4",
            do="correct the file named by GATESCOPE_CONFIG (default gatescope.toml)",
        ) from None


def settings_with(**given: Any) -> Settings:
    """The settings in force but for those given; None is not given. Errors: as `load_settings`."""
    return load_settings(**{name: value for name, value in given.items() if value is not None})


@cache
def settings() -> Settings:
    """The settings of this process, read once."""
    return load_settings()


def load_chosen(
    chosen: Settings, name: str = "", *, on_stage: Callable[[str], object] = lambda _stage: None
) -> "LoadedModel":
    """An offered model (by default the one shown first), loaded as settings say. Errors: as `hooks.load_model`.

    `on_stage` is told in words what is being done.
    """
    from gatescope.hooks import load_model  # torch takes seconds to import

    source = model_source(name or chosen.model)
    return load_model(
        source,
        revision=chosen.revision,
        device=chosen.device,
        dtype=chosen.dtype,
        threads=chosen.threads,
        proofs=chosen.cache_dir / PROOFS,
        prove_again=chosen.prove_again,
        on_stage=on_stage,
    )


def model_source(name: str) -> str | Path:
    """What `hooks.load_model` is given for an offered name."""
    return BUNDLED_MODELS.get(name, name)
