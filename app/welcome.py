"""The capture a first visitor sees while the model is still loading; it comes with the bundled model.

`python -m app.welcome` makes it anew, which is due whenever the bundled model has changed.
"""

from pathlib import Path

from cache.store import Store
from routing.errors import StoreError
from routing.record import RoutingRecord

TEXT = "The bank raised its rates while a heron slept on the river bank. 17 + 25 = 42, she said."
"""What the first visitor's model has read."""

FOLDER = Path(__file__).parent / "shipped"


def shipped() -> RoutingRecord | None:
    """The capture that came with the bundled model; None when its file is missing or damaged."""
    try:
        store = Store(FOLDER)
        return next((store.get(entry.id) for entry in store.ids()), None)
    except StoreError:
        return None


def ship() -> None:
    """Capture the text with the bundled model and put it in place of the one that was shipped before."""
    from app.tracer import identify
    from hooks import CaptureOptions, capture, load_model
    from models import BUNDLED_MODEL

    model, options = load_model(BUNDLED_MODEL, device="cpu"), CaptureOptions()
    record = capture(model, TEXT, options)
    store = Store(FOLDER)
    for entry in store.ids():
        store.remove(entry.id)
    id = identify(record.provenance, TEXT, options, secret=bytes(32))
    store.put(id, record)
    FOLDER.chmod(0o755)  # a store keeps captures to their owner; this one is for everybody
    (FOLDER / f"{id}.gsr").chmod(0o644)


if __name__ == "__main__":
    ship()
