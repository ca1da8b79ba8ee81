"""Every setting of Roadstead; the only reader of the environment and of the configuration file.

Sources, the first wins: environment (`ROADSTEAD_…`), the TOML file that `ROADSTEAD_CONFIG` names (or ./roadstead.toml), defaults. The
command line's options set the environment, so that worker processes read the same.
"""

from __future__ import annotations

import os
import tomllib
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from roadstead.access.audit_sinks import open_sink
from roadstead.errors import Misconfigured
from roadstead.registry.rules import Rules
from roadstead.serving.request import Networks, Site
from roadstead.serving.tls import FileSource, authority_name, parse_mode, server_name
from roadstead.serving.tls_authority import SelfSigned

CONFIG_VARIABLE: Final = "ROADSTEAD_CONFIG"
PREFIX: Final = "ROADSTEAD_"
_DEFAULT_CONFIG: Final = Path("roadstead.toml")
_MOST_DEFAULT_WORKERS: Final = 4


def _default_workers() -> int:
    return max(1, min(len(os.sched_getaffinity(0)), _MOST_DEFAULT_WORKERS))


class Settings(BaseSettings):
    """One installation's settings. Read them by `load`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, env_ignore_empty=True)

    data: Path = Field(
        default=Path("roadstead-data"), description="Directory for everything that has no other place: database, blobs, secret key."
    )
    listen: str = Field(
        default="127.0.0.1:5000", description="Host and port to listen on. Loopback by default; 0.0.0.0:5000 for all addresses."
    )
    workers: int = Field(
        default_factory=_default_workers, ge=1, le=256, description="HTTP worker processes. Default: one a core, at most 4."
    )
    public_url: str | None = Field(
        default=None,
        description="The address users type, as in https://registry.example.org. Default: what each request's Host header says.",
    )
    tls: str = Field(
        default="off",
        description="off: plain HTTP. self: HTTPS with an authority of its own. CERT_PATH,KEY_PATH: HTTPS with these PEM files.",
    )
    tls_names: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="With tls=self: DNS names and IP addresses, separated by commas. Default: host name, full host name, loopback, ROADSTEAD_LISTEN.",
    )
    tls_directory: Path | None = Field(
        default=None, description="With tls=self: the authority's directory, the same on all replicas. Default: tls in the data directory."
    )
    database_url: str | None = Field(
        default=None,
        description="sqlite:///absolute/path or postgresql://user:password@host/name. Default: an SQLite file in the data directory.",
    )
    storage_url: str | None = Field(
        default=None, description="file:///absolute/path or s3://bucket/prefix?endpoint=…&region=…. Default: the data directory."
    )
    secret_key_file: Path | None = Field(
        default=None,
        description="Secret key of the installation, the same on all replicas; made at first start. Default: secret.key in the data directory.",
    )
    admin_password: SecretStr | None = Field(
        default=None, description="Password of the account 'admin', at first start only. Default: one is made and printed once."
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Addresses or networks, separated by commas, of proxies whose X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host are believed.",
    )
    accept_absent_content: bool = Field(
        default=False, description="Accept manifests whose layers, configuration or manifests are not in the repository (sparse images)."
    )
    accept_damaged_sif: bool = Field(
        default=False, description="Accept SIF images that are damaged: what is wrong is shown with them. Default: such a push is refused."
    )
    create_projects_on_push: bool = Field(
        default=False, description="Let an administrator's push make the project that it names, as a private one."
    )
    upload_lifetime_hours: float = Field(
        default=24, gt=0, le=24 * 365, description="Hours after which an upload that nobody continues is removed."
    )
    body_timeout_seconds: float = Field(
        default=60, gt=0, le=3600, description="Seconds that a request's body may stall before the request is ended."
    )
    audit_export: str | None = Field(
        default=None,
        description="Where the audit log is exported: file:///absolute/path, syslog://host:port?protocol=udp (or tcp), or syslog:///dev/log. Default: nowhere.",
    )
    login_refresh_minutes: float = Field(
        default=15, gt=0, le=24 * 60, description="Minutes after which directories are asked again who is there, and in which groups."
    )
    conversion_wait_seconds: float = Field(
        default=300,
        ge=0,
        le=3600,
        description="Seconds that a request waits for an image to be converted, before it is told to come again. Proxies in front must wait as long.",
    )
    conversions_at_once: int = Field(
        default=2, ge=1, le=1000, description="How many conversions run at once, on all servers together; of one project it is one."
    )
    conversion_threads: int = Field(
        default_factory=_default_workers,
        ge=1,
        le=64,
        description="Threads that compress for one conversion. Default: one a core, at most 4.",
    )
    conversion_compression: Literal["gzip", "zstd"] = Field(
        default="gzip",
        description="What converted SIFs are compressed with: gzip, which every kernel reads, or zstd, which is faster and smaller. Another one makes other digests.",
    )
    conversion_memory_mib: int = Field(
        default=2048,
        ge=256,
        le=1 << 20,
        description="Address space (MiB) that one conversion may use; most take less than 300 MiB of memory.",
    )
    conversion_minutes: float = Field(default=120, gt=0, le=24 * 60, description="Minutes that one conversion may take.")
    conversion_unpacked_gib: int = Field(
        default=256, ge=1, le=1 << 20, description="GiB that an image may unpack to, if it is to be converted."
    )
    conversion_ratio: int = Field(
        default=200, ge=2, le=100_000, description="How many times as large as it is stored a layer may unpack to (from 64 MiB on)."
    )
    derived_gib: float = Field(
        default=100,
        ge=0,
        le=1 << 30,
        description="GiB that converted images may take in the store, for which no project is charged. Beyond it the longest unused go, and are made again when asked for.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level of log lines: debug, info, warning or error. Successful pulls are logged at debug."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment before file; see the module's docstring."""
        return env_settings, TomlConfigSettingsSource(settings_cls, _config_file())

    @field_validator("listen")
    @classmethod
    def _listen_is_host_and_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError("write host and port, as in 127.0.0.1:5000 or [::1]:5000")
        return value

    @field_validator("public_url")
    @classmethod
    def _public_url_is_an_origin(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/") or parts.query:
            raise ValueError("write scheme and host without a path, as in https://registry.example.org")
        authority_name(parts.netloc)
        return value.rstrip("/")

    @field_validator("audit_export")
    @classmethod
    def _audit_export_is_a_sink(cls, value: str | None) -> str | None:
        if value is not None:
            open_sink(value)
        return value

    @field_validator("tls")
    @classmethod
    def _tls_is_a_mode(cls, value: str) -> str:
        parse_mode(value)
        return value

    @field_validator("tls_names")
    @classmethod
    def _are_server_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(server_name(part) for part in value)

    @field_validator("trusted_proxies", "tls_names", mode="before")
    @classmethod
    def _split_at_commas(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for part in value:
            ip_network(part)
        return value

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen on."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def database(self) -> str:
        """The database's URL."""
        return self.database_url or f"sqlite:///{self.data.absolute()}/roadstead.sqlite"

    @property
    def storage(self) -> str:
        """The content store's URL."""
        return self.storage_url or f"file://{self.data.absolute()}"

    @property
    def secret_key(self) -> Path:
        """The secret key's file."""
        return self.secret_key_file or self.data.absolute() / "secret.key"

    @property
    def tls_source(self) -> FileSource | SelfSigned | None:
        """Where the server's certificate comes from; None for plain HTTP. Raises Misconfigured if that and the public address do not fit."""
        mode = parse_mode(self.tls)
        if mode == "off":
            return None
        if self.public_url and not self.public_url.startswith("https:"):
            raise Misconfigured(
                f"ROADSTEAD_PUBLIC_URL is {self.public_url}, but with ROADSTEAD_TLS={self.tls} the address begins with https."
            )
        return self._self_signed() if mode == "self" else FileSource(mode)

    def _self_signed(self) -> SelfSigned:
        listening = () if self.address[0] in ("0.0.0.0", "::") else (server_name(self.address[0]),)  # noqa: S104 - compared, not bound
        public = (authority_name(urlsplit(self.public_url).netloc),) if self.public_url else ()
        directory = self.tls_directory or self.data.absolute() / "tls"
        # The public address is in every certificate: it is what clients type, whatever else was asked for.
        return SelfSigned(directory, self.tls_names or None, public if self.tls_names else (*listening, *public))

    def make_data_directory(self) -> None:
        """Make the data directory if it is not there. Raises Misconfigured."""
        try:
            self.data.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Misconfigured(f"The data directory {self.data.absolute()} cannot be made: {error.strerror}.") from error

    def site(self) -> Site:
        """What the doors must know."""
        networks: Networks = tuple(ip_network(part) for part in self.trusted_proxies)
        return Site(self.public_url, networks, self.body_timeout_seconds)

    def rules(self) -> Rules:
        """What the registry must know."""
        return Rules(
            accept_absent_content=self.accept_absent_content,
            create_projects_on_push=self.create_projects_on_push,
            upload_lifetime=timedelta(hours=self.upload_lifetime_hours),
        )


def _config_file() -> Path | None:
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise Misconfigured(f"There is no configuration file {named}.")
        return Path(named)
    return _DEFAULT_CONFIG if _DEFAULT_CONFIG.is_file() else None


def load() -> Settings:
    """Read the settings. Raises Misconfigured with a line for each one that is wrong."""
    try:
        return Settings()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misconfigured(f"The configuration file {_config_file()} is not valid TOML: {error}.") from error
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, one['loc']))}: {_reason(one)}" for one in error.errors(include_url=False)]
        raise Misconfigured("These settings are not valid:\n  " + "\n  ".join(lines)) from error


def _reason(error: Any) -> str:
    reason = "there is no such setting" if error["type"] == "extra_forbidden" else error["msg"].removeprefix("Value error, ")
    return str(reason)
