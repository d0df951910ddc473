"""What the Pairs page alone draws."""
