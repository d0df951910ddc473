"""What a running server holds, without Streamlit: captures, model workers, jobs, library, background studies."""
