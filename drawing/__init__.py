"""The heatmap, in the dashboard and out of it: what the browser draws, and a trace as one file or in a notebook.

heatmap/          numbers to bytes, and the browser's half, that any host can draw
modules.py        the browser's half as one script
token_heatmap.py  a quantity of a capture as a heatmap of its tokens
"""
