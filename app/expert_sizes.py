"""How many weights an expert of a captured model has, where its configuration is at hand."""

from app.kept import Kept
from app.settings import settings
from app.torch_import import import_hooks
from models import BUNDLED_MODELS
from routing.errors import GatescopeError, OptionError
from routing.record import RoutingRecord

_sizes = Kept(32)


def known_weights(record: RoutingRecord) -> tuple[int, ...] | None:
    """Weights of one expert of each layer; None where they are not known.

    Only models that ship, and those that this server offers, are looked up: a capture from elsewhere names what it
    likes.
    """
    name = record.provenance.model
    if name not in BUNDLED_MODELS and name not in settings().offered:
        return None
    try:
        found = _sizes.get((name, record.provenance.revision), lambda: _weights(name, record.provenance.revision))
    except OptionError:
        return None
    return found if len(found) == len(record.layers) else None


def _weights(name: str, revision: str) -> tuple[int, ...]:
    import_hooks()
    from hooks.expert_size import expert_weights

    try:
        return expert_weights(BUNDLED_MODELS.get(name, name), revision=revision)
    except (GatescopeError, OSError, ImportError) as error:
        raise OptionError(
            f"the size of the experts of {name}: {error}", expected="its configuration", do="type the sizes"
        ) from error
