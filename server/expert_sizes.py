"""How many weights an expert of a captured model has, where its configuration is at hand."""

from gatescope.models import BUNDLED_MODELS
from gatescope.routing.errors import GatescopeError, ModelError, OptionError
from gatescope.routing.record import RoutingRecord
from gatescope.server.memo_cache import MemoCache
from gatescope.server.settings import settings
from gatescope.server.torch_import import import_hooks

RETRY_SECONDS = 60.0
"""How long after a failure that may pass, as one of the network, the configuration is not looked for again."""

_sizes = MemoCache()


def known_weights(record: RoutingRecord) -> tuple[int, ...] | None:
    """Weights of one expert of each layer; None where they are not known.

    Only models that ship, and those that this server offers, are looked up: a capture from elsewhere names what it
    likes.
    """
    name = record.provenance.model
    if name not in BUNDLED_MODELS and name not in settings().offered:
        return None
    revision = record.provenance.revision
    try:
        found = _sizes.get((name, revision), lambda: _weights(name, revision), retry_after=RETRY_SECONDS)
    except GatescopeError:
        return None
    return found if len(found) == len(record.layers) else None


def _weights(name: str, revision: str) -> tuple[int, ...]:
    import_hooks()
    from gatescope.hooks.loading.expert_size import expert_weights

    try:
        return expert_weights(BUNDLED_MODELS.get(name, name), revision=revision)
    except ModelError:  # no network, no permission yet: that may pass
        raise
    except OSError as error:
        found = f"the configuration of {name} cannot be read: {error}"
        raise ModelError(found, expected="its configuration", do="type the sizes, or try again") from error
    except (GatescopeError, ImportError) as error:
        found = f"the size of the experts of {name}: {error}"
        raise OptionError(found, expected="its configuration", do="type the sizes") from error
