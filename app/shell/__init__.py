"""What stands around every page: frame, sidebar, address, links, messages, tour, and how a figure is shown."""
