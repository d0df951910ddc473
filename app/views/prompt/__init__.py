"""What the Prompt page draws, its pure figures (`*_figure.py`) beside the drawing."""
