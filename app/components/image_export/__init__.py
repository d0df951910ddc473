"""A chart as a picture: saved by the browser that drew it, as PNG and SVG."""

from gatescope.app.components.image_export.component import picture

__all__ = ["picture"]
