"""What the Model page alone draws."""
