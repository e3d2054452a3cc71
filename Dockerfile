# Three images from one file, the first by default:
#
#   docker build --tag kilter .                          serves and scores on a CPU, without torch
#   docker build --tag kilter:cuda --target cuda .       the same with torch, for an NVIDIA GPU
#   docker build --tag kilter:train --target train .     `kilter train`, `calibrate` and `evaluate` as well
#   docker build --tag kilter:dask --build-arg EXTRAS="telemetry images dask" .    the first with Dask
#
# Python packages are pinned by deploy/constraints.txt; pin the base by its digest to have all pinned.
ARG BASE_IMAGE=python:3.11-slim

FROM ${BASE_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*
# Environments without pip: what installs is not part of what runs.
RUN python -m venv --without-pip /opt/kilter && python -m venv /opt/tools
COPY deploy/constraints.txt deploy/dependencies.py pyproject.toml ./
RUN /opt/tools/bin/pip install --constraint constraints.txt setuptools cyclonedx-bom
# Two libraries are shipped with their symbols, a seventh of the whole.
ARG EXTRAS="telemetry images"
# hadolint ignore=SC2086
RUN python dependencies.py ${EXTRAS} > requirements.txt \
    && /opt/tools/bin/pip --python /opt/kilter/bin/python install --constraint constraints.txt --requirement requirements.txt \
    && find /opt/kilter -path '*/numpy/*' -type d -name tests -prune -exec rm -r {} + \
    && find /opt/kilter \( -path '*/uvloop/*.so' -o -path '*/_polars_runtime*/*.so' \) -exec strip --strip-unneeded {} +
COPY README.md LICENSE ./

# The distribution without training/: its commands are then not among those that `kilter` finds.
FROM build AS serving
COPY kilter/ kilter/
COPY service/ service/
RUN /opt/tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/tools/bin/pip --python /opt/kilter/bin/python install --no-deps dist/*.whl \
    && /opt/tools/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
        --output-file /opt/kilter/sbom.cdx.json /opt/kilter/bin/python

FROM build AS serving-cuda
# An index of Torch's builds, where the usual one has not the build that is wanted.
ARG TORCH_INDEX_URL=
RUN python dependencies.py gpu > requirements.txt \
    && /opt/tools/bin/pip --python /opt/kilter/bin/python install --constraint constraints.txt \
        ${TORCH_INDEX_URL:+--extra-index-url "${TORCH_INDEX_URL}"} --requirement requirements.txt
COPY kilter/ kilter/
COPY service/ service/
RUN /opt/tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/tools/bin/pip --python /opt/kilter/bin/python install --no-deps dist/*.whl \
    && /opt/tools/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
        --output-file /opt/kilter/sbom.cdx.json /opt/kilter/bin/python

FROM build AS training
ARG TORCH_INDEX_URL=
RUN python dependencies.py train > requirements.txt \
    && /opt/tools/bin/pip --python /opt/kilter/bin/python install --constraint constraints.txt \
        ${TORCH_INDEX_URL:+--extra-index-url "${TORCH_INDEX_URL}"} --requirement requirements.txt
COPY kilter/ kilter/
COPY service/ service/
COPY training/ training/
RUN /opt/tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/tools/bin/pip --python /opt/kilter/bin/python install --no-deps dist/*.whl \
    && /opt/tools/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
        --output-file /opt/kilter/sbom.cdx.json /opt/kilter/bin/python

FROM ${BASE_IMAGE} AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Kilter" \
      org.opencontainers.image.description="Learns what normal looks like and gives a calibrated verdict on every new record." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# No writing at run time, so that the root filesystem may be read-only; ONNX Runtime tells nobody what runs here; /models
# is there to mount a volume over.
ENV PATH=/opt/kilter/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1 \
    KILTER_HOST=0.0.0.0 \
    KILTER_PORT=8000 \
    KILTER_MODELS=/models
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin kilter \
    && install --directory --owner=kilter --group=kilter /models
USER 10001:10001
WORKDIR /models
STOPSIGNAL SIGTERM
ENTRYPOINT ["kilter"]

FROM runtime AS train
# A fit keeps nothing outside of the models' folder but what libraries cache.
ENV MPLCONFIGDIR=/tmp/matplotlib HOME=/tmp
COPY --from=training /opt/kilter /opt/kilter
CMD ["--help"]

# Torch's wheels carry CUDA; from the host it takes the driver and the NVIDIA container toolkit (`docker run --gpus all`),
# the driver at least as new as the CUDA that torch was built for: 580 for CUDA 13, 525 for CUDA 12.
FROM runtime AS cuda
COPY --from=serving-cuda /opt/kilter /opt/kilter
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 CMD ["python", "-m", "kilter.service.probe"]
CMD ["serve"]

FROM runtime AS cpu
COPY --from=serving /opt/kilter /opt/kilter
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["python", "-m", "kilter.service.probe"]
CMD ["serve"]
