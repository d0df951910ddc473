"""What the Map page alone draws."""
