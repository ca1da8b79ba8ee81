from __future__ import annotations

import resource
from pathlib import Path

import pytest

from roadstead.cli import doctor
from roadstead.cli.doctor import Finding, Verdict, examine
from roadstead.sif.orders import Examined, Isolation
from tests.support.postgres import Postgres
from tests.support.server import free_port

GIB = 1 << 30


@pytest.mark.parametrize(
    ("finding", "verdict"),
    [
        (doctor.python_version((3, 11, 2)), Verdict.FINE),
        (doctor.python_version((3, 10, 14)), Verdict.STOPS),
        (doctor.sqlite_version((3, 35, 0)), Verdict.FINE),
        (doctor.sqlite_version((3, 34, 1)), Verdict.STOPS),
        (doctor.resumable_hashes("OpenSSL 3.0.15 x86_64"), Verdict.FINE),
        (doctor.resumable_hashes(""), Verdict.COSTS),
        (doctor.event_loop(True), Verdict.FINE),
        (doctor.event_loop(False), Verdict.COSTS),
        (doctor.ldap_library(True), Verdict.FINE),
        (doctor.ldap_library(False), Verdict.COSTS),
        (doctor.database_place("ext4"), Verdict.FINE),
        (doctor.database_place(None), Verdict.FINE),
        (doctor.database_place("nfs4"), Verdict.STOPS),
        (doctor.database_place("lustre"), Verdict.STOPS),
        (doctor.free_space(10 * GIB, 100 * GIB), Verdict.FINE),
        (doctor.free_space(10 * GIB - 1, 100 * GIB), Verdict.COSTS),
        (doctor.data_directory(Path("/srv/roadstead"), True), Verdict.FINE),
        (doctor.data_directory(Path("/srv/roadstead"), False), Verdict.STOPS),
        (doctor.open_files(4096), Verdict.FINE),
        (doctor.open_files(1024), Verdict.COSTS),
        (doctor.open_files(resource.RLIM_INFINITY), Verdict.FINE),
        (doctor.isolation(Examined(Isolation(True, True, True, 1), ())), Verdict.FINE),
        (doctor.isolation(Examined(Isolation(True, True, True, 0), ())), Verdict.COSTS),
        (doctor.isolation(Examined(Isolation(), ("open a file", "start a process"))), Verdict.COSTS),
        (doctor.isolation(None, "The converter ended without an answer."), Verdict.COSTS),
        (doctor.client("apptainer", "/usr/bin/apptainer"), Verdict.FINE),
        (doctor.isolation(Examined(Isolation(True, True, True, 1), ())), Verdict.FINE),
        (doctor.isolation(Examined(Isolation(True, True, True, 0), ())), Verdict.COSTS),
        (doctor.isolation(Examined(Isolation(), ("open a file", "start a process"))), Verdict.COSTS),
        (doctor.isolation(None, "The converter ended without an answer."), Verdict.COSTS),
        (doctor.client("apptainer", None), Verdict.COSTS),
        (doctor.answer("PostgreSQL", None), Verdict.FINE),
        (doctor.answer("PostgreSQL", "connection refused"), Verdict.STOPS),
    ],
)
def test_each_check_weighs_its_fact_and_names_the_cost(finding: Finding, verdict: Verdict) -> None:
    assert finding.verdict is verdict
    assert bool(finding.costs) is (verdict is not Verdict.FINE)


def found(findings: list[Finding], subject: str) -> Finding:
    return next(finding for finding in findings if finding.subject == subject)


def test_a_directory_that_is_not_there_yet_is_examined_where_it_would_be(tmp_path: Path) -> None:
    data = tmp_path / "not" / "yet"
    findings = examine(data)
    assert found(findings, "Data").verdict is Verdict.FINE
    assert found(findings, "Place of the database").verdict is Verdict.FINE
    assert not data.exists()


def test_a_database_that_answers_is_fine(tmp_path: Path, postgres: Postgres) -> None:
    assert found(examine(tmp_path, postgres.fresh_database()), "PostgreSQL").verdict is Verdict.FINE


def test_a_database_that_is_not_there_stops_and_keeps_its_password(tmp_path: Path) -> None:
    finding = found(examine(tmp_path, f"postgresql://roadstead:s3cret@127.0.0.1:{free_port()}/registry"), "PostgreSQL")
    assert finding.verdict is Verdict.STOPS
    assert "s3cret" not in finding.found


def test_an_object_store_that_cannot_be_opened_stops(tmp_path: Path) -> None:
    finding = found(examine(tmp_path, "", "s3://?endpoint=http://127.0.0.1:1"), "Object store")
    assert finding.verdict is Verdict.STOPS
    assert "no bucket" in finding.found


def test_the_output_says_in_words_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    assert doctor.doctor(tmp_path) == 0
    printed = capsys.readouterr().out
    assert "apptainer" in printed
    assert "not installed" in printed
    assert printed.endswith("Roadstead can run here.\n")


def test_what_stops_the_server_is_the_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.doctor(tmp_path, f"postgresql://127.0.0.1:{free_port()}/registry") == 1
    assert capsys.readouterr().out.endswith("Roadstead cannot run here: PostgreSQL.\n")


def test_a_converter_tells_what_shuts_it_in(tmp_path: Path) -> None:
    [found] = [finding for finding in examine(tmp_path) if finding.subject == "Converter"]
    assert "system call filter" in found.found
    assert "it can" not in found.found


def test_what_a_converter_can_do_is_named() -> None:
    found = doctor.isolation(Examined(Isolation(True, False, False, 0), ("open a file",)))
    assert found.found == "without own network namespace, system call filter, Landlock; it can open a file"
