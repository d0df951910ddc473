"""The dashboard and the command line. The only importer of streamlit; wires everything else together."""

__version__ = "0.1.0"
