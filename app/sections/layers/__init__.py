"""What the Layers page alone draws."""
