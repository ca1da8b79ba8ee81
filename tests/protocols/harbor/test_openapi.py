"""What the OpenAPI description promises: schemathesis makes requests out of it, good ones and bad ones, and looks at the answers.

As nobody, as a plain user and as the administrator; always with the same seed, and no more requests than some seconds take.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from tests.protocols.harbor.conftest import API, PASSWORD, USER
from tests.support.server import RoadsteadServer

SEED = 20260101
EXAMPLES = {GenerationMode.POSITIVE: 3, GenerationMode.NEGATIVE: 2}
"""Requests to each operation; what is not offered gets one, as all of it is answered by the same few lines."""

NOT_OFFERED = "not offered"

CHECKS = [content_type_conformance, response_schema_conformance, status_code_conformance]
"""An answer is of a status, a type and a form that the description has for it."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoadsteadServer]:
    """A server for these requests alone: they change and remove what they find."""
    with RoadsteadServer(tmp_path_factory.mktemp("openapi") / "data") as running:
        with running.http() as http:
            assert http.post(f"{API}/users", json={"username": USER, "password": PASSWORD}).status_code == 201
        yield running


Credentials = tuple[str, str] | None


@pytest.mark.slow
def test_the_answers_are_what_is_described(server: RoadsteadServer) -> None:
    schema = schemathesis.openapi.from_url(f"{server.url}{API}/openapi.json")
    found: list[Any] = [one.ok() for one in schema.get_all_operations()]  # type: ignore[union-attr] # an Err fails the test
    assert len(found) > 150
    # The administrator last: what was asked for is done then.
    askers: list[Credentials] = [None, (USER, PASSWORD), ("admin", server.admin_password)]
    modes = {operation.label: [GenerationMode.POSITIVE] if NOT_OFFERED in operation.tags else list(EXAMPLES) for operation in found}
    wrong = [failure for operation in found for mode in modes[operation.label] for failure in failures(operation, mode, askers)]
    assert not wrong, "\n\n".join(wrong[:20]) + f"\n\n{len(wrong)} in all"


def failures(operation: Any, mode: GenerationMode, askers: list[Credentials]) -> list[str]:
    """What is wrong with the answers to some requests to an operation, each made by all of the askers."""
    wrong: list[str] = []

    @seed(SEED)
    @settings(
        max_examples=1 if NOT_OFFERED in operation.tags else EXAMPLES[mode],
        phases=[Phase.explicit, Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        wrong.extend(failure for asker in askers for failure in look(case, asker))

    try:
        ask()
    except Unsatisfiable:  # without parameters, no request is a wrong one
        assert mode is GenerationMode.NEGATIVE
    return wrong


def look(case: Any, asker: Credentials) -> Iterator[str]:
    """Make a request, and say what is wrong with its answer."""
    answer = case.call(auth=asker)
    said = f"{asker and asker[0]}: {case.as_curl_command()}\n→ {answer.status_code} {answer.text[:300]}"
    if answer.status_code >= 500 and answer.status_code != 501:
        yield said
    try:
        case.validate_response(answer, checks=CHECKS)
    except FailureGroup as group:
        yield f"{said}\n{[str(one) for one in group.exceptions]}"
