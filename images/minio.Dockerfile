# MinIO from its Go module: its community images were withdrawn. The version is that of manifests/versions.yaml. The
# checksums of all modules are checked against the checksum database by Go itself.
ARG GO=golang:1.25-bookworm
ARG BASE=debian:12-slim

FROM ${GO} AS build
ARG MINIO_VERSION=v0.0.0-20260212201848-7aac2a2c5b7c
ENV CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false" GOBIN=/out
# No `go install path@version`: upstream's module replaces others, which only counts in a main module.
RUN mkdir -p /src /out && cd /src && go mod init slipway.local/minio \
 && go get "github.com/minio/minio@${MINIO_VERSION}" \
 && go build -mod=mod -tags netgo,osusergo -ldflags "-s -w" -o /out/minio github.com/minio/minio

FROM ${BASE}
LABEL org.opencontainers.image.title="minio" org.opencontainers.image.licenses="AGPL-3.0"
COPY --from=build /out/minio /usr/bin/minio
ENV HOME=/tmp
USER 10001:10001
EXPOSE 9000
ENTRYPOINT ["/usr/bin/minio"]
