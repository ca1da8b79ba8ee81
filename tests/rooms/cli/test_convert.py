"""`roadstead convert` as a user runs it, on what skopeo and docker write, and on what is wrong."""

from __future__ import annotations

import hashlib
import io
import json
import signal
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from isal import igzip

from roadstead.oci import media_type as types
from roadstead.oci.descriptor import Descriptor
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import image_of, index_of
from roadstead.sif.compression import usual
from roadstead.sif.convert import Conversion, Source, convert
from roadstead.sif.on_disk import default_platform
from tests.rooms.cli.test_commands import require_clear_failure, run
from tests.rooms.sif.archives import archive, entry, folder, symlink
from tests.support.program import PROGRAM
from tests.support.user import INTERRUPTIBLE

LAYER = archive([folder("bin"), entry("bin/tool", b"#!/bin/sh\n" * 5000, mode=0o755), symlink("t", "bin/tool")])
STORED = igzip.compress(LAYER)
HERE = default_platform()


def configuration(architecture: str = HERE.partition("/")[2], **more: object) -> bytes:
    config = {"Entrypoint": ["/bin/tool"], "Env": ["A=1"], "Labels": {"who": "me"}}
    rootfs = {"type": "layers", "diff_ids": [str(Digest.of(LAYER))]}
    return json.dumps({"architecture": architecture, "os": "linux", "config": config, "rootfs": rootfs, **more}).encode()


class Layout:
    """The files of an OCI layout."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
        self._named: list[Descriptor] = []

    def add(self, media_type: str, content: bytes, **more: object) -> Descriptor:
        digest = Digest.of(content)
        self.files[f"blobs/sha256/{digest.encoded}"] = content
        return Descriptor(media_type, digest, len(content), **more)  # type: ignore[arg-type]

    def image(self, config: bytes, **more: object) -> Descriptor:
        layer = self.add(types.OCI_LAYER_GZIP, STORED)
        return self.add(types.OCI_MANIFEST, image_of(self.add(types.OCI_CONFIG, config), [layer]), **more)

    def name(self, named: Descriptor) -> Layout:
        self._named.append(named)
        self.files["index.json"] = index_of(self._named)
        return self


def tagged(tag: str) -> Mapping[str, object]:
    return {"annotations": {"org.opencontainers.image.ref.name": tag}}


def one_image() -> Layout:
    layout = Layout()
    return layout.name(layout.image(configuration(), **tagged("v1")))


def docker_files(*, link: bool = False) -> dict[str, bytes]:
    config = configuration()
    name = hashlib.sha256(config).hexdigest()
    told = [{"Config": f"{name}.json", "RepoTags": ["tool:v1"], "Layers": ["b/layer.tar" if link else "a/layer.tar"]}]
    return {f"{name}.json": config, "a/layer.tar": LAYER, "manifest.json": json.dumps(told).encode()}


def write_directory(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def write_archive(path: Path, files: Mapping[str, bytes], *, link: bool = False) -> Path:
    with tarfile.open(path, "w") as file:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
        if link:
            info = tarfile.TarInfo("b/layer.tar")
            info.type, info.linkname = tarfile.SYMTYPE, "../a/layer.tar"
            file.addfile(info)
    return path


def expected(digest: Digest, how: Conversion | None = None) -> bytes:
    output = io.BytesIO()
    convert(Source(digest, configuration(), [lambda: [STORED]]), output, how or Conversion())
    return output.getvalue()


@pytest.mark.parametrize("source", ["layout", "oci:layout", "oci:layout:v1"])
def test_a_layout_becomes_the_sif_that_the_server_makes(tmp_path: Path, source: str) -> None:
    layout = one_image()
    write_directory(tmp_path / "layout", layout.files)
    done = run(tmp_path, "convert", source, "-o", "x.sif", "--json")
    assert done.returncode == 0, done.stderr
    content = (tmp_path / "x.sif").read_bytes()
    assert content == expected(next(Digest.of(content) for content in layout.files.values() if b'"layers":[' in content))
    told = json.loads(done.stdout)
    assert (told["path"], told["size"], told["digest"]) == (str(tmp_path / "x.sif"), len(content), Digest.of(content))
    assert (tmp_path / "x.sif").stat().st_mode & 0o100
    assert sorted(path.name for path in tmp_path.iterdir()) == ["layout", "x.sif"]
    assert "Reading 1 of 1" in done.stderr


def test_an_archive_of_a_layout_gives_the_same(tmp_path: Path) -> None:
    write_directory(tmp_path / "layout", one_image().files)
    write_archive(tmp_path / "image.tar", one_image().files)
    assert run(tmp_path, "convert", "layout").returncode == run(tmp_path, "convert", "image.tar").returncode == 0
    assert (tmp_path / "layout.sif").read_bytes() == (tmp_path / "image.sif").read_bytes()


@pytest.mark.parametrize(("source", "link"), [("image.tar", False), ("docker-archive:image.tar:tool:v1", False), ("image.tar", True)])
def test_an_archive_of_docker_is_named_by_its_configuration(tmp_path: Path, source: str, link: bool) -> None:
    write_archive(tmp_path / "image.tar", docker_files(link=link), link=link)
    done = run(tmp_path, "convert", source, "-o", "x.sif")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "x.sif").read_bytes() == expected(Digest.of(configuration()))


def test_a_platform_is_picked_from_an_index(tmp_path: Path) -> None:
    layout = Layout()
    children = [
        layout.image(configuration(name), platform={"os": "linux", "architecture": name}) for name in ("s390x", HERE.partition("/")[2])
    ]
    write_directory(tmp_path / "layout", layout.name(layout.add(types.OCI_INDEX, index_of(children))).files)
    assert run(tmp_path, "convert", "layout", "-o", "here.sif").returncode == 0
    assert run(tmp_path, "convert", "layout", "-o", "there.sif", "--platform", "linux/s390x", "--compression", "zstd").returncode == 0
    assert (tmp_path / "here.sif").read_bytes() == expected(children[1].digest)
    failed = run(tmp_path, "convert", "layout", "-o", "none.sif", "--platform", "linux/riscv64")
    require_clear_failure(failed, "not for linux/riscv64", "linux/s390x")


def test_zstd_is_what_the_server_makes_with_it(tmp_path: Path) -> None:
    write_archive(tmp_path / "image.tar", docker_files())
    assert run(tmp_path, "convert", "image.tar", "--compression", "zstd").returncode == 0
    assert (tmp_path / "image.sif").read_bytes() == expected(Digest.of(configuration()), Conversion(usual("zstd")))


def test_what_is_there_is_replaced_only_by_force(tmp_path: Path) -> None:
    write_directory(tmp_path / "layout", one_image().files)
    (tmp_path / "x.sif").write_bytes(b"mine")
    require_clear_failure(run(tmp_path, "convert", "layout", "-o", "x.sif"), "--force")
    assert (tmp_path / "x.sif").read_bytes() == b"mine"
    assert run(tmp_path, "convert", "layout", "-o", "x.sif", "--force").returncode == 0
    assert (tmp_path / "x.sif").read_bytes() != b"mine"


def test_a_sif_becomes_a_layout_and_a_sif_again(tmp_path: Path) -> None:
    write_directory(tmp_path / "layout", one_image().files)
    assert run(tmp_path, "convert", "layout", "-o", "x.sif").returncode == 0
    done = run(tmp_path, "convert", "x.sif", "--json")
    assert done.returncode == 0, done.stderr
    again = run(tmp_path, "convert", "oci:x-oci:latest", "-o", "y.sif")
    assert again.returncode == 0, again.stderr
    index = json.loads((tmp_path / "x-oci/index.json").read_bytes())
    assert index["manifests"][0]["digest"] == json.loads(done.stdout)["digest"]
    manifest = json.loads((tmp_path / "x-oci/blobs/sha256" / index["manifests"][0]["digest"][7:]).read_bytes())
    config = json.loads((tmp_path / "x-oci/blobs/sha256" / manifest["config"]["digest"][7:]).read_bytes())
    assert config["config"]["Entrypoint"] == ["/bin/tool"]
    require_clear_failure(run(tmp_path, "convert", "x.sif"), "--force")
    assert run(tmp_path, "convert", "x.sif", "--force").returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["layout", "x-oci", "x.sif", "y.sif"]


@pytest.mark.parametrize(
    ("files", "words", "status"),
    [
        ({}, "neither an OCI layout", 1),
        ({"index.json": b"{"}, "not valid", 2),
        ({"manifest.json": b"[1]"}, "manifest.json cannot be read", 2),
        ({"manifest.json": b'[{"Config": "../../etc/passwd", "Layers": []}]'}, "is not there", 1),
        ({"manifest.json": b"[]"}, "does not hold any image", 3),
        ({**docker_files(), "a/layer.tar": b"noise" * 1000}, "not a sound tar archive", 2),
        ({name: content for name, content in one_image().files.items() if content != STORED}, "is not there", 1),
        ({name: content + (b" " if b'"layers":[' in content else b"") for name, content in one_image().files.items()}, "something else", 1),
        (
            {name: content + (b" " if content == STORED else b"") for name, content in one_image().files.items()},
            "and its image says",
            1,
        ),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_left(tmp_path: Path, files: Mapping[str, bytes], words: str, status: int) -> None:
    write_archive(tmp_path / "image.tar", files)
    done = run(tmp_path, "convert", "image.tar", "-o", "x.sif")
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.splitlines()[-1].startswith("roadstead: ")
    assert words in done.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["image.tar"]


def test_a_source_that_is_not_there_and_a_tag_that_is_not(tmp_path: Path) -> None:
    require_clear_failure(run(tmp_path, "convert", "missing.tar"), "missing.tar cannot be read", status=2)
    write_directory(tmp_path / "layout", one_image().files)
    require_clear_failure(run(tmp_path, "convert", "oci:layout:v2"), "the tag v2", "It has v1", status=3)
    (tmp_path / "image.tar.gz").write_bytes(igzip.compress(LAYER))
    require_clear_failure(run(tmp_path, "convert", "image.tar.gz"), "not an uncompressed tar archive")


def test_two_images_need_a_tag(tmp_path: Path) -> None:
    layout = Layout()
    layout.name(layout.image(configuration(), **tagged("v1"))).name(
        layout.image(configuration(created="2020-01-01T00:00:00Z"), **tagged("v2"))
    )
    write_directory(tmp_path / "layout", layout.files)
    require_clear_failure(run(tmp_path, "convert", "layout"), "holds 2 images", "v1, v2", status=3)
    assert run(tmp_path, "convert", "oci:layout:v2", "-o", "x.sif").returncode == 0


@pytest.mark.parametrize(("sign", "status"), [(signal.SIGTERM, 5), (signal.SIGINT, 130)])
def test_what_is_broken_off_leaves_nothing(tmp_path: Path, sign: signal.Signals, status: int) -> None:
    big = archive([entry(f"{number}/{'x' * 200}") for number in range(30_000)])
    config = json.dumps({"architecture": "amd64", "rootfs": {"diff_ids": [str(Digest.of(big))]}}).encode()
    told = [{"Config": "c", "Layers": ["l"]}]
    write_archive(tmp_path / "image.tar", {"c": config, "l": big, "manifest.json": json.dumps(told).encode()})
    with subprocess.Popen([*INTERRUPTIBLE, PROGRAM, "convert", "image.tar"], cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "Reading 1 of 1" in process.stderr.readline()
        process.send_signal(sign)
        said = process.stderr.read()
    assert ("broken off" in said, "Traceback" in said) == (sign == signal.SIGTERM, False)
    assert process.returncode == status
    assert [path.name for path in tmp_path.iterdir()] == ["image.tar"]
