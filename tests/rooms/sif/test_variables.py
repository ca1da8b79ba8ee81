"""What a script is said to set is what a shell says that it sets, or is not said."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadstead.sif.variables import DEFAULT_PATH, assigned, is_empty

OF_APPTAINER = """#!/bin/sh
export PATH="${PATH:-"/usr/local/bin:/bin"}"
export LANG="${LANG:-"C.UTF-8"}"
export EMPTY="${EMPTY:-""}"
"""


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("", {}),
        ("#!/bin/sh\n# nothing\n\n", {}),
        ("A=1", {"A": "1"}),
        ("export A=1 B='two words' # and more", {"A": "1", "B": "two words"}),
        ("A=1; export A;B=2", {"A": "1", "B": "2"}),
        ("  export   A  ", {}),
        ("A=", {"A": ""}),
        ("A=x\nB=\"$A and ${A}\"'$A'\\", {"A": "x"}),
        ('A="a\\"b\\\\c\\$d"', {"A": 'a"b\\c$d'}),
        ("PATH=/opt/bin:$PATH", {"PATH": f"/opt/bin:{DEFAULT_PATH}"}),
        ("LD_LIBRARY_PATH=/lib:$LD_LIBRARY_PATH", {"LD_LIBRARY_PATH": "/lib:"}),
        ("A=$UNKNOWN\nB=1", {}),
        ("A=1\nB=$(date)\nC=3", {"A": "1"}),
        ("A=1\nB=`date`", {"A": "1"}),
        ("A=1\nif true; then\nA=2\nfi", {"A": "1"}),
        ("A=1\n. /etc/profile\nA=2", {"A": "1"}),
        ("A=~/x", {}),
        ("A=a*", {}),
        ("A=1 command", {}),
        ("export A=1 B C=2; D=3", {"A": "1", "C": "2", "D": "3"}),
        ("A=1; B", {}),
        ("A=a&", {}),
        ("A='never ended", {}),
        ('A="never ended', {}),
        ("A=${B:-x", {}),
        ("A=${B:-x}${B:-'y z'}", {"A": "xy z"}),
        ("A=${#B}", {}),
        (OF_APPTAINER, {"PATH": "/usr/local/bin:/bin", "LANG": "C.UTF-8", "EMPTY": ""}),
    ],
)
def test_what_is_told(script: str, found: dict[str, str]) -> None:
    assert assigned(script, {}) == found


def test_what_is_known_before_is_kept_and_used() -> None:
    assert assigned('B="$A$A"\nA="${A:-z}"', {"A": "x"}) == {"A": "x", "B": "xx"}


def test_a_script_that_doubles_a_variable_does_not_take_all_memory() -> None:
    found = assigned("A=0123456789\n" + "A=$A$A\n" * 60, {})
    assert len(found["A"]) <= 16 << 10


def test_a_script_of_comments_is_empty() -> None:
    assert is_empty("#!/bin/sh\n# Custom environment shell code should follow\n\n")
    assert not is_empty("#!/bin/sh\nexport A=1\n")


def by_shell(script: str, names: Mapping[str, str]) -> dict[str, str]:
    told = "".join(f'printf "%s\\0" "${name}"\n' for name in names)
    done = subprocess.run(["/bin/sh", "-c", f"{script}\n{told}"], capture_output=True, check=True, env={"PATH": DEFAULT_PATH})
    return dict(zip(names, done.stdout.decode().split("\0"), strict=False))


pieces = st.sampled_from(
    ["a", "/b:c", "'q $A'", '"$A"', "$A", "${A}", '"${B:-w}"', "${C:-'x y'}", '" s "', '"\\""', "=", "$B", "\\x", "*", "~"]
)
lines = st.builds(
    lambda export, name, parts: f"{export}{name}={''.join(parts)}",
    st.sampled_from(["", "export "]),
    st.sampled_from("ABC"),
    st.lists(pieces, max_size=4),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(lines, max_size=4))
def test_what_is_told_is_what_the_shell_does(several: list[str]) -> None:
    """Line by line, because what follows a line that is not understood is not told."""
    for count in range(len(several) + 1):
        script = "\n".join(several[:count])
        found = assigned("A=a\nB=b\n" + script, {})
        if count and assigned("A=a\nB=b\n" + script + "\nMARK=1", {}).get("MARK") is None:
            return
        wanted = by_shell("A=a\nB=b\n" + script, found)
        assert found == wanted
