# One image for every command of Mediana: `docker run mediana worker`, `... serve`, and so on.
# Dependencies are the locked ones, by hash; nothing of the build remains in the image but what it built.

ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
RUN python -m venv /opt/mediana
COPY requirements/ requirements/
RUN /opt/mediana/bin/pip install --require-hashes --prefer-binary -r requirements/runtime.txt \
 && pip install --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY schemas/ schemas/
COPY aggregates/ aggregates/
COPY streams/ streams/
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && /opt/mediana/bin/pip install --no-deps dist/*.whl \
 && /opt/mediana/bin/mediana --version

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="Mediana" \
      org.opencontainers.image.description="How fast and how well a team answers its contacts: a live report from Kafka events." \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin mediana
COPY --from=build /opt/mediana /opt/mediana
ENV PATH=/opt/mediana/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
# 8080 the page, 8081 ingest; metrics and probes: 9464 worker, 9465 snapshotter, 9466 page, 9467 ingest.
EXPOSE 8080 8081 9464 9465 9466 9467
ENTRYPOINT ["mediana"]
CMD ["--help"]
