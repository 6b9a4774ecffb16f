"""Which S3 service, and the key to it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from serving.errors import ConfigError


@dataclass(frozen=True)
class S3Settings:
    """An S3 service and the key to it.

    Attributes:
        endpoint: host and port, ``minio.kubeflow:9000``; ``secure`` says whether TLS is spoken there.
        ca_file: PEM file of the authority that signed the endpoint's certificate; None trusts the system's.
    """

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str = "us-east-1"
    secure: bool = True
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        if "://" in self.endpoint or not self.endpoint:
            raise ConfigError(
                f"S3 endpoint {self.endpoint!r}: expected host:port without a scheme; plain http is secure=False"
            )

    @classmethod
    def from_files(cls, directory: Path) -> Self:
        """Read a mounted secret: files ``endpoint``, ``access_key``, ``secret_key``, and if wanted ``region``,
        ``secure`` (true or false) and ``ca.crt``."""

        def text(name: str, default: str | None = None) -> str:
            path = directory / name
            if path.is_file():
                return path.read_text(encoding="utf-8").strip()
            if default is None:
                raise ConfigError(f"the S3 secret {directory} has no file {name!r}; mount one that has it")
            return default

        secure = text("secure", "true").lower()
        if secure not in ("true", "false"):
            raise ConfigError(f"{directory / 'secure'}: expected true or false, seen {secure!r}")
        ca_file = directory / "ca.crt"
        return cls(
            endpoint=text("endpoint"),
            access_key=text("access_key"),
            secret_key=text("secret_key"),
            region=text("region", "us-east-1"),
            secure=secure == "true",
            ca_file=ca_file if ca_file.is_file() else None,
        )
