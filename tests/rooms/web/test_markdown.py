from __future__ import annotations

import pytest

from roadstead.web.markdown import first_line, rendered


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("# Models\n\nof the lab", "Models"),
        ("\n\n> - *GROMACS* with `CUDA` __12__ ##\n", "GROMACS with CUDA 12"),
        ("[![build](https://ci/x.svg)](https://ci) of [the lab](https://lab)", "build of the lab"),
        ("Models\n======\n", "Models"),
        ("---\n```sh\nrun\n", "run"),
        ("[a]: https://x\n\n| a | b |\n|---|---|", "| a | b |"),
        ("snake_case and 2*3", "snake_case and 2*3"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("1. first", "first"),
        ("", ""),
        ("***\n\n\n", ""),
        ("x" * 9000, "x" * 500),
    ],
)
def test_the_first_line_has_no_marks(text: str, line: str) -> None:
    assert first_line(text) == line


async def test_tables_are_tables() -> None:
    assert "<td>2</td>" in await rendered("| a | b |\n|---|---|\n| 1 | 2 |\n")


async def test_a_table_that_would_be_huge_stays_text() -> None:
    wide = "|" + "a|" * 60 + "\n|" + "-|" * 60 + "\n" + "|\n" * 30_000
    html = await rendered(wide)
    assert "<table>" not in html
    assert len(html) < 2 * len(wide)


HOSTILE = ("[" * 30_000, "![[]()" * 5_000, "|a\n|-\n" + "|a|b\n" * 6_000, "[x](javascript:alert(1))", "<script>alert(1)</script>")


@pytest.mark.parametrize("text", HOSTILE)
async def test_whatever_is_written_is_harmless(text: str) -> None:
    html = await rendered(text)
    assert "<script" not in html
    assert 'href="javascript' not in html
