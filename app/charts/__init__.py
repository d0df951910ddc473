"""What the pages show, as data: arguments of the matrix component, frames, sentences, escaped HTML; never streamlit.

What several pages share stands here, what one alone shows in a folder of its name.
"""
