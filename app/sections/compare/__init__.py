"""What the Compare page alone draws."""
