"""What the Prompt page alone draws."""
