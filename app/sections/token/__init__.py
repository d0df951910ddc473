"""What the Token page alone draws."""
