"""What is popularly said of such models, and whether it holds of one."""
