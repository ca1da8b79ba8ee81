"""Settings: where they come from, which source wins, and what is said of those that are wrong."""

from __future__ import annotations

import os
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from roadstead.errors import Misconfigured
from roadstead.registry.rules import Rules
from roadstead.settings import CONFIG_VARIABLE, PREFIX, Settings, load

# Each setting: as the environment writes it, as TOML writes it, and what it then is. All differ from the defaults.
EXAMPLES: dict[str, tuple[str, str, Any]] = {
    "data": ("/srv/roadstead", '"/srv/roadstead"', Path("/srv/roadstead")),
    "listen": ("[::]:8080", '"[::]:8080"', "[::]:8080"),
    "workers": ("17", "17", 17),
    "public_url": ("https://registry.example.org/", '"https://registry.example.org"', "https://registry.example.org"),
    "database_url": ("postgresql://u:p@db/r", '"postgresql://u:p@db/r"', "postgresql://u:p@db/r"),
    "storage_url": ("s3://bucket/prefix", '"s3://bucket/prefix"', "s3://bucket/prefix"),
    "secret_key_file": ("/etc/roadstead/key", '"/etc/roadstead/key"', Path("/etc/roadstead/key")),
    "admin_password": ("s3cret", '"s3cret"', "s3cret"),
    "tls": ("/etc/r.crt,/etc/r.key", '"/etc/r.crt,/etc/r.key"', "/etc/r.crt,/etc/r.key"),
    "tls_names": ("r.example.org, 192.0.2.1", '["r.example.org", "192.0.2.1"]', ("r.example.org", "192.0.2.1")),
    "tls_directory": ("/etc/roadstead/tls", '"/etc/roadstead/tls"', Path("/etc/roadstead/tls")),
    "trusted_proxies": ("10.0.0.0/8, ::1", '["10.0.0.0/8", "::1"]', ("10.0.0.0/8", "::1")),
    "accept_absent_content": ("true", "true", True),
    "accept_damaged_sif": ("true", "true", True),
    "create_projects_on_push": ("1", "true", True),
    "upload_lifetime_hours": ("1.5", "1.5", 1.5),
    "body_timeout_seconds": ("5", "5", 5.0),
    "login_refresh_minutes": ("5", "5", 5.0),
    "audit_export": (
        "syslog://log.example.org:601?protocol=tcp",
        '"syslog://log.example.org:601?protocol=tcp"',
        "syslog://log.example.org:601?protocol=tcp",
    ),
    "conversion_wait_seconds": ("7.5", "7.5", 7.5),
    "conversions_at_once": ("9", "9", 9),
    "conversion_threads": ("63", "63", 63),
    "conversion_compression": ("zstd", '"zstd"', "zstd"),
    "conversion_memory_mib": ("1024", "1024", 1024),
    "conversion_minutes": ("1.5", "1.5", 1.5),
    "conversion_unpacked_gib": ("3", "3", 3),
    "conversion_ratio": ("1000", "1000", 1000),
    "derived_gib": ("0.5", "0.5", 0.5),
    "log_level": ("debug", '"debug"', "debug"),
}


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory without a configuration file, an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)


def value_of(settings: Settings, name: str) -> Any:
    value = getattr(settings, name)
    return value.get_secret_value() if name == "admin_password" and value is not None else value


def said(error: pytest.ExceptionInfo[Misconfigured]) -> list[str]:
    return [line.strip() for line in error.value.message.splitlines()]


def test_there_is_an_example_of_every_setting() -> None:
    assert set(EXAMPLES) == set(Settings.model_fields)
    assert all(field.description for field in Settings.model_fields.values())


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_setting_by_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written, _, expected = EXAMPLES[name]
    assert value_of(load(), name) != expected
    monkeypatch.setenv(PREFIX + name.upper(), written)
    assert value_of(load(), name) == expected


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_setting_by_the_file(name: str, tmp_path: Path) -> None:
    _, written, expected = EXAMPLES[name]
    (tmp_path / "roadstead.toml").write_text(f"{name} = {written}\n")
    assert value_of(load(), name) == expected


def test_the_environment_wins_over_the_file_and_the_file_over_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "roadstead.toml").write_text('workers = 3\nlisten = "127.0.0.1:7000"\n')
    monkeypatch.setenv("ROADSTEAD_WORKERS", "5")
    settings = load()
    assert (settings.workers, settings.listen, settings.log_level) == (5, "127.0.0.1:7000", "info")


def test_a_file_that_is_named_wins_over_the_one_that_lies_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "roadstead.toml").write_text("workers = 3\n")
    (tmp_path / "other.toml").write_text("log_level = 'error'\n")
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "other.toml"))
    assert (load().workers != 3, load().log_level) == (True, "error")


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in EXAMPLES:
        monkeypatch.setenv(PREFIX + name.upper(), "")
    assert load() == Settings()
    assert load().admin_password is None


def test_the_defaults_are_a_laptops(tmp_path: Path) -> None:
    settings = load()
    assert settings.address == ("127.0.0.1", 5000)
    assert 1 <= settings.workers <= 4
    assert settings.database == f"sqlite:///{tmp_path}/roadstead-data/roadstead.sqlite"
    assert settings.storage == f"file://{tmp_path}/roadstead-data"
    assert settings.secret_key == tmp_path / "roadstead-data" / "secret.key"
    assert settings.rules() == Rules()
    assert settings.site().trusted_proxies == ()


def test_what_the_rooms_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, (written, _, _) in EXAMPLES.items():
        monkeypatch.setenv(PREFIX + name.upper(), written)
    settings = load()
    assert settings.address == ("::", 8080)
    assert (settings.database, settings.storage) == ("postgresql://u:p@db/r", "s3://bucket/prefix")
    assert settings.secret_key == Path("/etc/roadstead/key")
    rules = settings.rules()
    assert (rules.accept_absent_content, rules.create_projects_on_push, rules.upload_lifetime) == (True, True, timedelta(minutes=90))
    site = settings.site()
    assert (site.public_url, site.body_timeout) == ("https://registry.example.org", 5.0)
    assert site.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1"))


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("listen", "5000", "host and port"),
        ("listen", ":5000", "host and port"),
        ("listen", "localhost", "host and port"),
        ("listen", "127.0.0.1:0", "host and port"),
        ("listen", "127.0.0.1:65536", "host and port"),
        ("listen", "127.0.0.1:²", "host and port"),
        ("workers", "0", "greater than or equal to 1"),
        ("workers", "many", "integer"),
        ("public_url", "registry.example.org", "scheme and host"),
        ("public_url", "ftp://registry.example.org", "scheme and host"),
        ("public_url", "https://example.org/registry", "scheme and host"),
        ("trusted_proxies", "10.0.0.0/8,proxy.example.org", "proxy.example.org"),
        ("trusted_proxies", "10.0.0.1/8", "host bits"),
        ("accept_absent_content", "perhaps", "boolean"),
        ("upload_lifetime_hours", "0", "greater than 0"),
        ("body_timeout_seconds", "-1", "greater than 0"),
        ("body_timeout_seconds", "nan", "3600"),
        ("audit_export", "syslog://log.example.org?protocol=tls", "write file:///absolute/path"),
        ("log_level", "loud", "'debug', 'info', 'warning' or 'error'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(name: str, value: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PREFIX + name.upper(), value)
    with pytest.raises(Misconfigured) as raised:
        load()
    head, line = said(raised)
    assert head == "These settings are not valid:"
    assert line.startswith(f"{name}: ")
    assert reason in line


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "roadstead.toml").write_text("wokers = 3\n[listen]\nport = 1\n")
    monkeypatch.setenv("ROADSTEAD_WORKERS", "none")
    with pytest.raises(Misconfigured) as raised:
        load()
    lines = said(raised)[1:]
    assert sorted(line.partition(":")[0] for line in lines) == ["listen", "wokers", "workers"]
    assert "wokers: there is no such setting" in lines


def test_a_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROADSTEAD_ADMIN_PASSWORD", "s3cret")
    assert "s3cret" not in repr(load())


@pytest.mark.parametrize("content", [b"workers = = 3", b"workers", b"log_level = \xff", b"\xff\xfe"])
def test_a_file_that_is_no_toml_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "roadstead.toml").write_bytes(content)
    with pytest.raises(Misconfigured, match=r"roadstead\.toml is not valid TOML"):
        load()


def test_a_file_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for missing in (tmp_path / "none.toml", tmp_path):
        monkeypatch.setenv(CONFIG_VARIABLE, str(missing))
        with pytest.raises(Misconfigured, match=str(missing)):
            load()
