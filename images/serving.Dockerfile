# The model server: what `serving.predictor` imports, its byte code, and the machine code of its kernels.
#
# BASE is overridable, as is every base here (docker build --build-arg BASE=registry.example.com/python:3.11-slim). Only
# instructions of the classic builder are used.
ARG BASE=python:3.11-slim@sha256:9534e5a8e315485d4061ed659af0fd78a284c015f9b73661b41d6bab25604534

FROM ${BASE} AS build
RUN python -m venv /opt/venv
# The lock alone first: a change of code then keeps this layer. Byte code is compiled here, because a container with a
# read-only root would compile it again at every start: 5 s of CPU. Some packages carry files that are no Python 3, and
# those alone may fail.
COPY images/serving.lock /build/
RUN /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes --no-compile \
      -r /build/serving.lock \
 && rm -rf /opt/venv/lib/python3*/site-packages/pip /opt/venv/lib/python3*/site-packages/pip-* /opt/venv/bin/pip* \
 && find /opt/venv -type d \( -name tests -o -name test \) -path '*/site-packages/*' \
      \( -path '*/sklearn/*' -o -path '*/scipy/*' -o -path '*/pandas/*' -o -path '*/numba/*' -o -path '*/numpy/*' \) \
      ! -path '*/numpy/testing/*' ! -path '*/numba/testing/*' -prune -exec rm -rf {} + \
 && { /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib >/dev/null || true; }
COPY serving/ /app/serving/
COPY images/serve images/serving.cdx.json /app/images/
# numba's cache belongs to the path and the time of the source, so it is filled where the source stays.
RUN /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /app/serving \
 && cd /app && NUMBA_CACHE_DIR=/opt/numba PYTHONPATH=/app /opt/venv/bin/python -c "import serving.bundle.bundle, serving.predictor.served; from serving.compiled import load_all; load_all()" \
 && /opt/venv/bin/python -c "import importlib.util as u; assert not any(map(u.find_spec, ('mlflow', 'pyarrow', 'kfp', 'polars', 'kubernetes', 'fastapi')))"

FROM ${BASE}
ARG REVISION=unknown
LABEL org.opencontainers.image.title="slipway-serving" \
      org.opencontainers.image.description="KServe model server of Slipway" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/numba /opt/numba
COPY --from=build /app /app
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/app HOME=/tmp NUMBA_CACHE_DIR=/tmp/numba \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1
WORKDIR /app
USER 10001:10001
EXPOSE 8080 8081
ENTRYPOINT ["/app/images/serve"]
