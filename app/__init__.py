"""The dashboard: the only importer of streamlit."""
