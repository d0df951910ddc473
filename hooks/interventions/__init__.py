"""Changes to the routing of a loaded model, made to see what they cause."""
