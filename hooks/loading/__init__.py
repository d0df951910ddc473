"""A model from a folder or the hub: checked before it is loaded, its routers found and their records proven."""
