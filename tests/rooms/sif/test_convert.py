from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.errors import DigestMismatch, InvalidLayer, InvalidManifest
from roadstead.oci.digest import Digest
from roadstead.sif import format as sif_format
from roadstead.sif.compression import Compression
from roadstead.sif.configuration import Run, parse_configuration, quoted, tell
from roadstead.sif.convert import Conversion, Source, convert
from roadstead.sif.format import DataType, Sif
from tests.rooms.sif.archives import archive, entry, folder, symlink
from tests.support.squashfs import by_kernel, require_squashfs_readers

DIGEST = Digest.of(b"the manifest")
LOWER = archive(
    [folder("etc"), entry("etc/hosts", b"from the image"), entry("bin/x", b"x" * 100_000, mode=0o755), symlink("singularity", "elsewhere")]
)
UPPER = archive([entry("environment", b"the image's own file"), entry(".singularity.d/runscript", b"of old"), symlink("var", "srv")])


def image(*tars: bytes, config: object = None, store: Callable[[bytes], bytes] = bytes, **more: object) -> Source:
    """An image of these layers, compressed by `store`."""
    diff_ids = [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in tars]
    configuration = {
        "architecture": "amd64",
        "created": "2020-01-02T03:04:05.678+01:00",
        "config": config,
        "rootfs": {"diff_ids": diff_ids},
        **more,
    }
    stored = [store(data) for data in tars]
    return Source(DIGEST, json.dumps(configuration).encode(), [partial(list, [data]) for data in stored])


def converted(source: Source, how: Conversion | None = None) -> bytes:
    output = io.BytesIO()
    convert(source, output, how or Conversion())
    return output.getvalue()


def read(data: bytes) -> tuple[Sif, list[bytes]]:
    """What the container holds, and the content of each object."""
    sif = sif_format.read(lambda offset, length: data[offset : offset + length], len(data))
    return sif, [data[found.offset : found.end] for found in sif.descriptors]


def test_the_container_tells_what_the_configuration_says() -> None:
    config = {"Entrypoint": ["/bin/x"], "Labels": {"a": "b"}, "Env": ["A=1"], "Zebra": [1], "Aardvark": None}
    sif, contents = read(converted(image(LOWER, UPPER, config=config)))
    assert [found.object.type for found in sif.descriptors] == [
        DataType.DEFINITION,
        DataType.GENERIC_JSON,
        DataType.GENERIC_JSON,
        DataType.PARTITION,
    ]
    assert [found.object.name for found in sif.descriptors] == ["", "inspect-metadata.json", "oci-config.json", ""]
    assert (sif.architecture, sif.created, sif.primary) == ("amd64", 1577930645, sif.descriptors[3])
    assert contents[0].decode() == f"bootstrap: docker\nfrom: image@{DIGEST}\n"
    assert json.loads(contents[2]) == config
    attributes = json.loads(contents[1])["data"]["attributes"]
    assert attributes["labels"]["a"] == "b"
    assert attributes["labels"]["org.label-schema.build-date"] == "Thursday_2_January_2020_2:4:5_UTC"
    assert "'/bin/x'" in attributes["runscript"]


def test_the_files_that_apptainer_needs_are_added(tmp_path: Path) -> None:
    require_squashfs_readers()
    (tmp_path / "root.sqfs").write_bytes(read(converted(image(LOWER, UPPER)))[1][3])
    files = by_kernel(tmp_path / "root.sqfs")
    assert {"dev", "proc", "sys", "tmp", "home", "root", "srv/tmp", ".singularity.d/libs", ".singularity.d/actions/run"} <= files.keys()
    assert files["var"]["target"] == "srv"
    assert (files["etc/hosts"]["size"], files["environment"]["size"]) == (0, 20)
    assert (files["singularity"]["target"], files[".exec"]["target"]) == (".singularity.d/runscript", ".singularity.d/actions/exec")
    assert files[".singularity.d/runscript"]["mode"] == "0o100755"
    assert {files[path]["time"] for path in files if path.startswith(".singularity.d")} == {1577930645}


@pytest.mark.parametrize("compression", [Compression(), Compression("zstd", 3)], ids=lambda found: found.name)
def test_threads_and_the_layers_compression_change_no_byte(compression: Compression) -> None:
    stores: list[Callable[[bytes], bytes]] = [bytes, gzip.compress, lambda data: gzip.compress(data, 1)]
    made = {converted(image(LOWER, UPPER, store=store), Conversion(compression, threads=number)) for number, store in enumerate(stores, 1)}
    assert len(made) == 1


def test_what_decides_the_bytes_is_the_identity() -> None:
    ways = [Conversion(), Conversion(Compression(level=9)), Conversion(Compression("zstd", 6)), Conversion(block_size=1 << 20)]
    assert len({way.identity(DIGEST) for way in ways}) == len({read(converted(image(LOWER), way))[0].identity for way in ways}) == len(ways)
    assert Conversion(threads=1).identity(DIGEST) == Conversion(threads=2).identity(DIGEST)


def test_the_bytes_are_those_of_yesterday() -> None:
    """When this fails, images that were converted get other bytes: then the converter's version has to change too."""
    source = image(
        LOWER, UPPER, config={"Entrypoint": ["/bin/x", "it's"], "Cmd": ["a b"], "Env": ["PATH=/bin", "A=$b"], "Labels": {"c": "d"}}
    )
    assert Compression().library == "deflate 0.9.0"
    assert hashlib.sha256(converted(source)).hexdigest() == "3315531bac6eb2b83a5076411aa26437daee9508cfc808a5ca38e1c935f47e3e"


@pytest.mark.parametrize(
    ("source", "error", "reason"),
    [
        (Source(DIGEST, b"{", []), InvalidManifest, "cannot be read"),
        (Source(DIGEST, b"[]", []), InvalidManifest, "cannot be read"),
        (Source(DIGEST, b"[" * 100_000, []), InvalidManifest, "cannot be read"),
        (image(config={"Env": "A=1"}), InvalidManifest, "cannot be read"),
        (image(architecture="wasm"), InvalidManifest, "'wasm', which the SIF format does not know"),
        (image(architecture="unknown"), InvalidManifest, "does not know"),
        (image(LOWER, rootfs={"diff_ids": []}), InvalidManifest, "has 1 layers, and its configuration tells of 0"),
        (image(LOWER, rootfs={"diff_ids": [str(DIGEST)]}), DigestMismatch, "which the image's configuration states"),
        (image(b"no tar" * 200), InvalidLayer, "Layer 1 of 1: The layer is not a sound tar archive: this is no tar header"),
    ],
)
def test_an_image_that_is_not_sound_is_refused(source: Source, error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=reason):
        converted(source)


@pytest.mark.parametrize(
    ("created", "seconds"),
    [(None, 0), ("yesterday", 0), ("1969-01-01T00:00:00Z", 0), ("1970-01-01T00:00:01Z", 1), ("9999-01-01T00:00:00Z", 2**32 - 1)],
)
def test_the_time_of_making_is_the_images(created: str | None, seconds: int) -> None:
    assert parse_configuration(image(created=created).configuration).created == seconds


words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


def shell(script: str, *arguments: str, environment: Mapping[str, str] | None = None) -> list[str]:
    """Run a script by /bin/sh; what it printed, divided at NUL."""
    done = subprocess.run(
        ["sh", "-c", script, "sh", *arguments], capture_output=True, check=True, env={"PATH": "/usr/bin:/bin", **(environment or {})}
    )
    return done.stdout.decode().split("\0")[:-1]


def run_script(entrypoint: list[str], cmd: list[str]) -> str:
    configuration = parse_configuration(image(config={"Entrypoint": entrypoint, "Cmd": cmd}).configuration)
    return tell(configuration, DIGEST, "1").files["runscript"]


@given(st.lists(words, max_size=3), st.lists(words, max_size=3))
def test_entry_point_and_command_reach_the_program_as_they_are(entry_point: list[str], cmd: list[str]) -> None:
    script = run_script(["printf", "%s\\0", "begin", *entry_point], cmd)
    assert shell(script) == ["begin", *entry_point, *cmd]
    assert shell(script, "given", environment={"SINGULARITY_NO_EVAL": "1"}) == ["begin", *entry_point, "given"]


def test_arguments_are_read_by_the_shell_once_more_unless_told_not_to() -> None:
    script = run_script(["printf", "%s\\0"], ["command"])
    assert shell(script, "$HERE", "a  b", environment={"HERE": "there"}) == ["there", "a  b"]
    assert shell(script, "$HERE", environment={"HERE": "there", "SINGULARITY_NO_EVAL": "1"}) == ["$HERE"]
    assert shell(run_script([], ["printf", "x\\0"])) == ["x"]
    assert shell(run_script([], ["printf", "x\\0"]), "printf", "y\\0", environment={"SINGULARITY_NO_EVAL": "1"}) == ["y"]


@given(words, words)
def test_variables_are_set_to_what_the_image_says_and_left_to_the_user(value: str, users: str) -> None:
    configuration = parse_configuration(image(config={"Env": [f"A={value}", "PATH=/bin:/usr/bin", "BAD-NAME=x", "EMPTY"]}).configuration)
    script = tell(configuration, DIGEST, "1").files["env/10-docker2singularity.sh"] + '\nprintf "%s\\0" "$A" "$PATH" "$EMPTY"'
    assert shell(script) == [value, "/bin:/usr/bin", ""]
    assert shell(script, environment={"A": users})[0] == (users or value)


@given(words)
def test_a_quoted_word_means_itself(word: str) -> None:
    assert shell(f'printf "%s\\0" {quoted(word)}') == [word]


def test_paths_of_the_user_go_around_the_images() -> None:
    told: dict[str, Any] = dict(tell(parse_configuration(image().configuration), DIGEST, "1").files)
    script = told["env/99-runtimevars.sh"] + '\nprintf "%s\\0" "$PATH"'
    assert shell(script) == ["/usr/bin:/bin"]
    assert shell(script, environment={"SING_USER_DEFINED_PREPEND_PATH": "/a", "SING_USER_DEFINED_APPEND_PATH": "/z"}) == [
        "/a:/usr/bin:/bin:/z"
    ]
    assert shell(script, environment={"SING_USER_DEFINED_PATH": "/only:/bin"}) == ["/only:/bin"]
    assert Run().env is None
