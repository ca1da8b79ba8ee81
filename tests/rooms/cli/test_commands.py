"""The commands as a user runs them: what they print, and how they end."""

from __future__ import annotations

import re
import socket
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from roadstead.metadata.migrations import HEAD
from tests.support.postgres import Postgres
from tests.support.program import PROGRAM, without_settings
from tests.support.server import RoadsteadServer, free_port


def run(directory: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `roadstead` in `directory` with these settings in its environment."""
    environment = {
        **without_settings(),
        "COLUMNS": "120",
        "NO_COLOR": "1",
        **{f"ROADSTEAD_{name}": value for name, value in settings.items()},
    }
    return subprocess.run([PROGRAM, *arguments], check=False, cwd=directory, env=environment, capture_output=True, text=True, timeout=60)


def require_clear_failure(done: subprocess.CompletedProcess[str], *words: str, status: int = 1) -> None:
    """This exit status, nothing on standard output, and on the other one message that says `words`, without a traceback."""
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith("roadstead: ")
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    for word in words:
        assert word in done.stderr


def test_help_names_every_command(tmp_path: Path) -> None:
    done = run(tmp_path, "--help")
    assert done.returncode == 0
    for command in ("serve", "worker", "doctor", "db"):
        assert re.search(rf"\b{command}\b", done.stdout)
    assert list(tmp_path.iterdir()) == []


def test_help_of_serve_names_its_options_and_defaults(tmp_path: Path) -> None:
    done = run(tmp_path, "serve", "--help")
    assert done.returncode == 0
    for option in ("--data", "--listen", "--workers", "--config", "(default: ./roadstead-data)", "(default: 127.0.0.1:5000)"):
        assert option in done.stdout


def test_the_version_is_the_packages(tmp_path: Path) -> None:
    assert run(tmp_path, "--version").stdout == f"roadstead {version('roadstead')}\n"


def test_an_unknown_option_is_a_mistake_of_usage(tmp_path: Path) -> None:
    done = run(tmp_path, "serve", "--prot", "1")
    assert done.returncode == 2
    assert "--prot" in done.stderr


def test_upgrade_makes_the_database_and_may_be_repeated(tmp_path: Path) -> None:
    for _ in range(2):
        done = run(tmp_path, "db", "upgrade", "--data", "here")
        assert (done.returncode, done.stderr) == (0, "")
        assert HEAD in done.stdout
    assert (tmp_path / "here" / "roadstead.sqlite").is_file()


@pytest.mark.parametrize("command", [("user", "list"), ("jobs", "list"), ("audit",), ("key", "search", "x")], ids=" ".join)
def test_where_there_is_no_installation_that_is_said_and_none_is_made(tmp_path: Path, command: tuple[str, ...]) -> None:
    require_clear_failure(run(tmp_path, *command), "There is no installation here", str(tmp_path), "--data", "--config")
    require_clear_failure(run(tmp_path, *command, "--data", "elsewhere"), str(tmp_path / "elsewhere"))
    assert list(tmp_path.iterdir()) == []


def test_upgrade_of_postgresql(tmp_path: Path, postgres: Postgres) -> None:
    url = postgres.fresh_database()
    assert run(tmp_path, "db", "upgrade", DATABASE_URL=url).returncode == 0
    assert postgres.execute("SELECT version_num FROM alembic_version", url.rpartition("/")[2]) == HEAD


@pytest.mark.parametrize("command", [("serve",), ("worker",), ("db", "upgrade")], ids=" ".join)
def test_bad_settings_are_said_clearly(tmp_path: Path, command: tuple[str, ...]) -> None:
    require_clear_failure(run(tmp_path, *command, LISTEN="nonsense"), "listen: write host and port, as in 127.0.0.1:5000")
    require_clear_failure(run(tmp_path, *command, "--config", "none.toml"), "There is no configuration file", "none.toml")
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use_is_said_clearly_before_anything_is_made(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        require_clear_failure(run(tmp_path, "serve", "--listen", address), f"Cannot listen on {address}", "in use")
    assert list(tmp_path.iterdir()) == []


def test_an_address_of_another_machine_is_said_clearly(tmp_path: Path) -> None:
    require_clear_failure(run(tmp_path, "serve", "--listen", "192.0.2.1:5000"), "Cannot listen on 192.0.2.1:5000")


@pytest.mark.parametrize("command", [("serve", "--listen"), ("db", "upgrade")], ids=" ".join)
def test_a_data_directory_that_cannot_be_made_is_said_clearly(tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "file").write_text("x")
    listen = [f"127.0.0.1:{free_port()}"] if command[-1] == "--listen" else []
    for data in ("file", "file/below"):
        require_clear_failure(run(tmp_path, *command, *listen, "--data", data), str(tmp_path / data))


def test_a_database_that_does_not_answer_is_said_clearly_and_keeps_its_password(tmp_path: Path) -> None:
    port = free_port()
    done = run(tmp_path, "db", "upgrade", DATABASE_URL=f"postgresql://roadstead:s3cret@127.0.0.1:{port}/none")
    require_clear_failure(done, "database", str(port))
    assert "s3cret" not in done.stderr


def test_a_damaged_secret_key_is_said_clearly(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("damaged")
    done = run(tmp_path, "serve", "--listen", f"127.0.0.1:{free_port()}", SECRET_KEY_FILE=str(tmp_path / "key"))
    require_clear_failure(done, "secret key", str(tmp_path / "key"))


def test_the_first_start_prints_a_password_that_works_and_the_second_none(tmp_path: Path) -> None:
    server = RoadsteadServer(tmp_path / "data", {"ROADSTEAD_ADMIN_PASSWORD": "", "ROADSTEAD_WORKERS": "1"})
    with server:
        first = server.log.read_text()
        found = re.search(r"password, which is not shown again:\s+(\S+)\s", first)
        assert found is not None
        server.admin_password = found[1]
        with server.http() as client:
            assert client.get("/v2/").status_code == 200
        server.admin_password = found[1][:-1]
        with server.http() as client:
            assert client.get("/v2/").status_code == 401
        assert server.stop() == 0
        server.start()
        assert server.stop() == 0
    second = server.log.read_text().removeprefix(first)
    assert "Roadstead" in second
    assert "password" not in second
    assert server.log.read_text().count(found[1]) == 1


def test_a_password_that_was_given_is_not_printed(tmp_path: Path) -> None:
    with RoadsteadServer(tmp_path / "data", {"ROADSTEAD_WORKERS": "1"}) as server:
        assert server.admin_password not in server.log.read_text()


def test_a_server_that_is_stopped_while_its_workers_start_stops_at_once(tmp_path: Path) -> None:
    """The first of many answers, and the others do not listen to signals yet."""
    with RoadsteadServer(tmp_path / "data", arguments=["--workers", "16"]) as server:
        assert server.stop() == 0
        assert "Killing worker" not in server.log.read_text()
