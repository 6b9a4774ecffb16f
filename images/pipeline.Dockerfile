# Steps of a pipeline, the rollout controller, the command line and the tracking server. Its name has `python` in it,
# because the local runner of Kubeflow Pipelines warns of every image that has not.
#
# BASE is overridable. Only instructions of the classic builder.
ARG BASE=python:3.11-slim@sha256:9534e5a8e315485d4061ed659af0fd78a284c015f9b73661b41d6bab25604534

FROM ${BASE} AS packages
RUN python -m venv /opt/venv && python -m venv /opt/build
COPY images/pipeline.lock images/build.lock /build/
RUN /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes --no-compile \
      -r /build/pipeline.lock \
 && /opt/build/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes -r /build/build.lock \
 && find /opt/venv -type d \( -name tests -o -name test \) -path '*/site-packages/*' \
      \( -path '*/sklearn/*' -o -path '*/scipy/*' -o -path '*/pandas/*' -o -path '*/numba/*' -o -path '*/pyarrow/*' \) \
      ! -path '*/numba/testing/*' -prune -exec rm -rf {} + \
 && { /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib >/dev/null || true; } \
 && rm -rf /opt/venv/lib/python3*/site-packages/pip /opt/venv/lib/python3*/site-packages/pip-* /opt/venv/bin/pip*

# Our own code apart from the packages: a change of it leaves their layer, more than a gigabyte, where it is. As a wheel:
# `slipway` and the schemes of its sources are found by the metadata of an installed project.
FROM packages AS own
COPY pyproject.toml README.md LICENSE /src/
COPY serving/ /src/serving/
COPY components/ /src/components/
COPY pipelines/ /src/pipelines/
RUN cd /src && /opt/build/bin/pip wheel --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation -w /wheels . \
 && /opt/build/bin/pip --python /opt/venv/bin/python install --no-cache-dir --disable-pip-version-check --no-deps --no-index \
      --no-compile --target /opt/slipway/lib /wheels/*.whl \
 && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/slipway/lib \
 && cd / && NUMBA_CACHE_DIR=/opt/numba PYTHONPATH=/opt/slipway/lib /opt/venv/bin/python -c "import serving.bundle.bundle, serving.predictor.served; from serving.compiled import load_all; load_all()" \
 && chmod -R a+rwX /opt/numba

FROM ${BASE}
COPY --from=packages /opt/venv /opt/venv
COPY --from=own /opt/slipway /opt/slipway
COPY --from=own /opt/numba /opt/numba
COPY images/pipeline.cdx.json /opt/slipway/
# Kubeflow Pipelines puts its launcher in the place of any entrypoint, so the cache is used where it is: numba opens it
# only where it may write. A pod with a read-only root sets NUMBA_CACHE_DIR=/tmp/numba and compiles anew, if ever it does.
ENV PATH=/opt/slipway/lib/bin:/opt/venv/bin:$PATH PYTHONPATH=/opt/slipway/lib HOME=/tmp NUMBA_CACHE_DIR=/opt/numba \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1 MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=1
WORKDIR /tmp
USER 10001:10001
CMD ["slipway", "--help"]
ARG REVISION=unknown
LABEL org.opencontainers.image.title="slipway-python" \
      org.opencontainers.image.description="Pipeline steps, rollout controller and command line of Slipway" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
