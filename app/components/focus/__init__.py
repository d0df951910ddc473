"""The cursor in a dialog's first field, so that one can type at once."""

from gatescope.app.components.focus.component import focus_first

__all__ = ["focus_first"]
