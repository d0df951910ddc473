"""What the Expert page alone draws."""
