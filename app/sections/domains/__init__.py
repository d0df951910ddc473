"""What the Domains page alone draws."""
