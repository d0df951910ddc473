"""What the pages draw, as data: arguments of the matrix component and escaped HTML. Nothing here calls streamlit."""
