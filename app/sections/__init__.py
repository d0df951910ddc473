"""What the pages draw with streamlit: what several share stands here, what one alone draws in a folder of its name."""
