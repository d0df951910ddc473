"""What each page draws: a folder a page, its pure figures (`*_figure.py`, no Streamlit) beside their drawing."""
