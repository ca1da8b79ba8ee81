"""The reader of the suite's results, on a few cases cut from a real run: a change of the suite's format must be noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.protocols.conformance.report import ReportUnreadable, read_report

SAMPLE = Path(__file__).with_name("sample.xml")


def changed(tmp_path: Path, old: str, new: str) -> Path:
    text = SAMPLE.read_text()
    assert old in text
    target = tmp_path / "junit.xml"
    target.write_text(text.replace(old, new))
    return target


def test_the_counts_are_the_suites_own() -> None:
    report = read_report(SAMPLE)
    assert (report.assertions, report.failed, report.skipped) == (5, 2, 1)


def test_each_leaf_has_its_name_status_and_evidence() -> None:
    ping, referrers, post_only, missing = read_report(SAMPLE).cases
    assert (ping.name, ping.status, ping.complaint) == ("OCI Conformance Test/ping", "passed", "")
    assert "Status: 200" in ping.evidence
    assert (referrers.status, post_only.status, missing.status) == ("failure", "skipped", "failure")
    assert referrers.complaint.splitlines()[1] == "unexpected status code, expected one of [200], received 404"


def test_the_explanation_names_every_trouble_and_shows_the_first_on_the_wire() -> None:
    explanation = read_report(SAMPLE).explain(evidence_of=1)
    assert explanation.startswith("5 assertions, 2 failed, 1 skipped\n")
    assert 'failure: OCI Conformance Test/empty/referrers\n      header value mismatch for "Content-Type"' in explanation
    assert "skipped: OCI Conformance Test/sha256 blobs/post only/blob-post-only" in explanation
    assert "failure: OCI Conformance Test/invalid-digest-format/manifest-get" in explanation
    assert explanation.count("~~~ REQUEST ~~~") == 1
    assert "URL: http://127.0.0.1:15900/v2/library/c-1/referrers/" in explanation


def test_engine_errors_count_as_failures_and_disabled_checks_as_skipped(tmp_path: Path) -> None:
    report = read_report(changed(tmp_path, 'errors="0" skipped="1"', 'errors="3" disabled="4" skipped="1"'))
    assert (report.failed, report.skipped) == (5, 5)


def test_a_run_without_skips_leaves_the_attribute_out(tmp_path: Path) -> None:
    clean = changed(tmp_path, ' skipped="1"', "")
    clean.write_text(clean.read_text().replace('status="skipped"', 'status="passed"'))
    assert read_report(clean).skipped == 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<testsuites", "<report"),
        ("testsuite ", "group "),
        ('tests="5"', ""),
        ('failures="2"', 'failures="two"'),
        ('status="passed"', 'outcome="passed"'),
        ('status="passed"', 'status="ok"'),
        ('failures="2"', 'failures="0"'),
        (' skipped="1"', ""),
        ("</testsuites>", ""),
    ],
)
def test_another_format_is_refused(tmp_path: Path, old: str, new: str) -> None:
    with pytest.raises(ReportUnreadable):
        read_report(changed(tmp_path, old, new))


def test_results_without_cases_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "junit.xml"
    empty.write_text('<testsuites><testsuite name="s" tests="1000" failures="0" errors="0"></testsuite></testsuites>')
    with pytest.raises(ReportUnreadable):
        read_report(empty)


def test_no_results_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReportUnreadable):
        read_report(tmp_path / "junit.xml")
