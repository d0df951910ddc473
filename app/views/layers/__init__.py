"""What the Layers page draws, its pure figures (`*_figure.py`) beside the drawing."""
