# MinIO from its Go module: its community images were withdrawn. The version is the commit of the release that
# manifests/images.yaml names, and its checksum stands here; those of what it requires are checked against the checksum
# database by Go itself.
ARG GO=golang:1.25-bookworm@sha256:3b4a11519ad929d1e1d261a12cff056f0c85b735253d7d861346b9c6f8b36437
ARG DEBIAN=debian:12-slim@sha256:abd67ffcfa541b485a3dff59865ab629aa048a6c613e639d36e7456b0b229241

FROM ${GO} AS build
ARG MINIO_VERSION=v0.0.0-20260212201848-7aac2a2c5b7c
ARG MINIO_SUM=h1:/qdoYujxF5MBLDMVLeiYJ/7fBa1HikX39Dvzb9Ji8pA=
ENV CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false" GOBIN=/out
# No `go install path@version`: upstream's module replaces others, which only counts in a main module. The program is told
# its release as upstream's own build tells it; else it calls itself DEVELOPMENT, to whoever asks which one runs.
RUN mkdir -p /src /out && cd /src && go mod init slipway.local/minio \
 && go get "github.com/minio/minio@${MINIO_VERSION}" \
 && grep -qxF "github.com/minio/minio ${MINIO_VERSION} ${MINIO_SUM}" go.sum \
 && at=$(echo "${MINIO_VERSION}" | sed -E 's/^v0\.0\.0-(....)(..)(..)(..)(..)(..)-.*/\1-\2-\3T\4:\5:\6Z/') \
 && told="-X github.com/minio/minio/cmd" \
 && go build -mod=mod -tags netgo,osusergo -ldflags "-s -w ${told}.Version=${at} ${told}.CommitID=${MINIO_VERSION##*-} \
    ${told}.ReleaseTag=RELEASE.$(echo "${at}" | tr : -)" -o /out/minio github.com/minio/minio

FROM ${DEBIAN}
LABEL org.opencontainers.image.title="minio" org.opencontainers.image.licenses="AGPL-3.0-or-later"
COPY --from=build /out/minio /usr/bin/minio
ENV HOME=/tmp
USER 10001:10001
EXPOSE 9000
ENTRYPOINT ["/usr/bin/minio"]
