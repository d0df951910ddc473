"""The heatmap, in the dashboard and out of it: what the browser draws, and a trace as one file or in a notebook.

heatmap/          numbers to bytes, and the browser's half, that any host can draw
modules.py        the browser's half as one script
token_heatmap.py  a quantity of a capture as a heatmap of its tokens
parts.py          a trace in parts, for hosts without a server
one_file.py       those parts as one HTML file
notebook.py       the same in a notebook's cell
facts.py          what a capture was made by
"""
