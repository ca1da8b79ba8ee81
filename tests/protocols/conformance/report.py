"""Reads what the official suite writes: `junit.xml`, with one test case for each leaf of its tree of checks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec

STATUSES = frozenset({"passed", "skipped", "failure", "error"})


class ReportUnreadable(AssertionError):
    """The suite's results are not in the form that this reader knows; its numbers would mean nothing."""


class Case(msgspec.Struct, frozen=True):
    """One leaf: `name` (a path in the suite's tree), `status`, the suite's `complaint`, and what went over the wire as `evidence`."""

    name: str
    status: str
    complaint: str
    evidence: str


class Report(msgspec.Struct, frozen=True):
    """The suite's own count of assertions, and the leaves. A leaf can hold several assertions, so it has fewer cases than assertions."""

    assertions: int
    failed: int
    skipped: int
    cases: tuple[Case, ...]

    def summary(self) -> str:
        """The counts, on one line."""
        return f"{self.assertions} assertions, {self.failed} failed, {self.skipped} skipped"

    def troubles(self) -> tuple[Case, ...]:
        """The cases that did not pass, in the suite's order."""
        return tuple(case for case in self.cases if case.status != "passed")

    def explain(self, evidence_of: int = 5) -> str:
        """Every trouble by name with its complaint; the first `evidence_of` with what went over the wire."""
        troubles = self.troubles()
        lines = [self.summary()]
        lines += [f"  {case.status}: {case.name}\n      {case.complaint.strip() or '(no reason given)'}" for case in troubles]
        lines += [f"\n{case.name}\n{case.evidence.strip()}" for case in troubles[:evidence_of]]
        return "\n".join(lines)


def read_report(path: Path) -> Report:
    """Parse the suite's `junit.xml`. Raises ReportUnreadable for a missing file or anything that it would have to guess."""
    try:
        root = ET.parse(path).getroot()
    except (OSError, ET.ParseError) as problem:
        raise ReportUnreadable(f"{path.name}: {problem}") from problem
    suites = root.findall("testsuite")
    if root.tag != "testsuites" or len(suites) != 1:
        raise ReportUnreadable(f"{path.name}: expected one testsuite in testsuites, found {len(suites)} in {root.tag}")
    report = _read_suite(suites[0])
    _check(report)
    return report


def _read_suite(suite: ET.Element) -> Report:
    return Report(
        assertions=_count(suite.attrib, "tests"),
        failed=_count(suite.attrib, "failures") + _count(suite.attrib, "errors"),
        # The suite leaves out attributes that are zero, but never these three: tests, failures and errors.
        skipped=_count({"skipped": "0", **suite.attrib}, "skipped") + _count({"disabled": "0", **suite.attrib}, "disabled"),
        cases=tuple(_read_case(case) for case in suite.iter("testcase")),
    )


def _read_case(case: ET.Element) -> Case:
    name, status = case.get("name", ""), case.get("status", "")
    if not name or status not in STATUSES:
        raise ReportUnreadable(f"a test case with name {name!r} and status {status!r}")
    return Case(name, status, case.findtext("system-out", ""), case.findtext("system-err", ""))


def _count(attributes: Mapping[str, str], name: str) -> int:
    value = attributes.get(name, "")
    if not value.isdecimal():
        raise ReportUnreadable(f"the attribute {name} of the testsuite is {value!r}, not a number")
    return int(value)


def _check(report: Report) -> None:
    """The counts and the cases must tell the same story. A failed inner node counts, too, so they need not be equal."""
    failures = sum(case.status in {"failure", "error"} for case in report.cases)
    skips = sum(case.status == "skipped" for case in report.cases)
    if not report.cases or failures > report.failed or skips > report.skipped:
        raise ReportUnreadable(
            f"{len(report.cases)} cases, {failures} failed and {skips} skipped, but the counts say {report.failed} and {report.skipped}"
        )
