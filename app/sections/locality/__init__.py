"""What the Locality page alone draws."""
