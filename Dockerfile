# The dashboard with its bundled model. Computes on the CPU unless a GPU build of torch is asked for:
#   docker build --build-arg TORCH_INDEX=<address of the torch wheel index for your CUDA version> .
FROM python:3.11-slim

ARG TORCH_INDEX=""
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    GATESCOPE_CACHE_DIR=/data

WORKDIR /opt/gatescope
COPY requirements.txt ./
RUN if [ -n "$TORCH_INDEX" ]; then \
        pip install --no-cache-dir --index-url "$TORCH_INDEX" "$(grep '^torch==' requirements.txt)"; \
    fi \
    && pip install --no-cache-dir -r requirements.txt

RUN useradd --create-home --uid 10001 gatescope \
    && mkdir /data \
    && chown gatescope /data
COPY . ./

USER gatescope
VOLUME /data
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]
CMD ["python", "-m", "streamlit", "run", "streamlit_app.py", "--server.address=0.0.0.0", "--server.fileWatcherType=none"]
