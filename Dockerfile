# The service: `docker compose up` runs it with PostgreSQL; see docs/serve.md.
# CPU wheels of torch by default; with a GPU: --build-arg TORCH_INDEX=https://pypi.org/simple
FROM python:3.11-slim-bookworm AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY nas nas
COPY predictors predictors
COPY supernets supernets
COPY hardware_profiles hardware_profiles
COPY cli cli
RUN python -m venv /opt/nas \
    && /opt/nas/bin/pip install --no-cache-dir --index-url "$TORCH_INDEX" \
        "torch>=2.9,<2.15" "torchvision>=0.24,<0.29.2" \
    && /opt/nas/bin/pip install --no-cache-dir ".[serve,speech]"

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /data nas && install -d -o nas -g nas -m 0700 /data
COPY --from=build /opt/nas /opt/nas
ENV PATH=/opt/nas/bin:$PATH \
    NAS_SERVE_DATA=/data \
    NAS_CACHE_DIR=/data/cache
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["nas", "serve"]
CMD ["--host", "0.0.0.0"]
