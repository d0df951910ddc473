"""What the Library page alone draws."""
