"""What the server's threads need before they start: torch and transformers stand no company at their import."""

from gatescope import hooks  # noqa: F401
