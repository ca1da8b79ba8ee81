"""What is written and read in `roadstead.sif`, beside Apptainer's own: containers, signatures, and the files that layers make."""

from __future__ import annotations

import asyncio
import io
import json
import os
import stat
import tarfile
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from roadstead.access.public_keys import PublicKey, parse
from roadstead.access.verdicts import State, Verdict
from roadstead.oci.digest import Digest
from roadstead.sif import format as sif_format
from roadstead.sif.convert import Conversion, Open, Source, convert
from roadstead.sif.format import (
    DESCRIPTOR,
    TABLE_OFFSET,
    Crypt,
    CryptFormat,
    CryptMessage,
    DataType,
    FileSystem,
    Object,
    Partition,
    PartitionType,
    Sbom,
    SbomFormat,
    Sif,
    Signature,
    Writer,
)
from roadstead.sif.layers import Layer, Merged, merge
from roadstead.sif.limits import Limits
from roadstead.sif.signatures import check_signatures, judge
from roadstead.sif.squashfs import Settings
from roadstead.sif.squashfs import Writer as SquashfsWriter
from tests.rooms.sif.archives import MADE, archive, entry, folder, hard_link, symlink
from tests.support.clients.images import OCI_CONFIG, PLAIN, Image, artifact, as_json, assemble, base, write_layout
from tests.support.clients.images import tar as base_tar
from tests.support.clients.tools import Workplace
from tests.support.pem import certificate, public_pem
from tests.support.snapshot import snapshot
from tests.support.squashfs import Snapshot, by_kernel

pytestmark = pytest.mark.clients("apptainer")
IDENTITY = UUID("b2659d4e-bd50-4ea5-bd17-eec5e54f918e")
ROOT = Partition(FileSystem.SQUASHFS, PartitionType.PRIMARY_SYSTEM, "amd64")


def read(path: Path) -> Sif:
    return sif_format.read(reader(path), path.stat().st_size)


def reader(path: Path) -> sif_format.ReadAt:
    data = path.read_bytes()
    return lambda offset, length: data[offset : offset + length]


def merged(*tars: bytes) -> Merged:
    return merge([Layer(lambda data=data: [data]) for data in tars], Limits(), MADE)  # type: ignore[misc]


def write_root(output: io.BufferedWriter, found: Merged) -> None:
    with SquashfsWriter(output, found.tree, found.links, found.original, Settings(MADE)) as writer:
        for inode, pieces in found.contents():
            writer.add(inode, pieces)
        writer.finish()


def write_sif(path: Path) -> Sif:
    """A SIF of busybox with one object of nearly every type."""
    others = [
        Object(DataType.DEFINITION),
        Object(DataType.ENVIRONMENT, name="environment"),
        Object(DataType.LABELS, name="labels"),
        Object(DataType.GENERIC_JSON, name="oci-config.json"),
        Object(DataType.GENERIC, name="generic"),
        Object(DataType.SBOM, detail=Sbom(SbomFormat.SPDX_JSON)),
        Object(DataType.CRYPT_MESSAGE, link=1, detail=Crypt(CryptFormat.PEM, CryptMessage.RSA_OAEP)),
    ]
    with path.open("wb") as output:
        writer = Writer(output, identity=IDENTITY, made=MADE)
        for other in others:
            writer.add(other, [b"bootstrap: docker\nfrom: nowhere\n" if other.type == DataType.DEFINITION else b"{}"])
        with writer.open(Object(DataType.PARTITION, detail=ROOT)) as root:
            write_root(root, merged(base_tar({**base(), "etc/seed": b"ours"})))  # type: ignore[arg-type]
        sif = writer.finish()
    path.chmod(0o755)
    return sif


async def judged(path: Path, *certificates: bytes, public_keys: Sequence[PublicKey] = ()) -> list[Verdict]:
    """Our verdict on every signature of a SIF."""
    data = await asyncio.to_thread(path.read_bytes)

    async def read_at(offset: int, length: int) -> bytes:
        return data[offset : offset + length]

    found = await check_signatures(read_at, len(data))
    return [judge(one, certificates, lambda: datetime.now(UTC), public_keys) for one in found]


async def test_a_signature_of_apptainer_holds_here_as_it_does_there(workplace: Workplace) -> None:
    path = workplace.path("it.sif")
    write_sif(path)
    workplace.run("apptainer", "key", "newpair", "-N", "tests", "-E", "tests@example.org", "-C", "", "-P", "", "-U=false", "-b", "2048")
    workplace.run("apptainer", "sign", "it.sif")
    workplace.run("apptainer", "verify", "--local", "it.sif")
    key = workplace.path(".apptainer/keys/pgp-public").read_bytes()
    assert [one.state for one in await judged(path, key)] == [State.VALID]
    assert [one.state for one in await judged(path)] == [State.UNKNOWN_KEY]

    whole, signed = path.read_bytes(), read(path)
    named = DESCRIPTOR.size + TABLE_OFFSET + 80
    for position in [10, 50, named, *(found.offset for found in signed.descriptors if found.object.type != DataType.SIGNATURE)]:
        changed = bytearray(whole)
        changed[position] ^= 1
        path.write_bytes(changed)
        workplace.refused("apptainer", "verify", "--local", "it.sif")
        assert [one.state for one in await judged(path, key)] == [State.ALTERED], position


@pytest.mark.parametrize(
    "private",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP521R1()),
        rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["P-256", "P-384", "P-521", "RSA", "Ed25519"],
)
async def test_a_signature_of_apptainer_by_a_key_in_pem_holds_here_as_it_does_there(workplace: Workplace, private: Any) -> None:
    path = workplace.path("it.sif")
    workplace.path("key.pem").write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    workplace.path("key.pub").write_bytes(public_pem(private))
    write_sif(path)
    workplace.run("apptainer", "sign", "--key", "key.pem", "it.sif")
    workplace.run("apptainer", "verify", "--key", "key.pub", "it.sif")
    key = parse(public_pem(private))
    assert await judged(path, public_keys=[key]) == [Verdict(State.VALID, key.fingerprint)]
    of_key = parse(certificate(private, "Ada").public_bytes(Encoding.PEM))
    assert await judged(path, public_keys=[of_key]) == [Verdict(State.VALID, of_key.fingerprint)]
    other = parse(public_pem(ec.generate_private_key(ec.SECP256R1())))
    assert [one.state for one in await judged(path, public_keys=[other])] == [State.UNKNOWN_KEY]
    altered = bytearray(path.read_bytes())
    altered[50] ^= 1
    path.write_bytes(altered)
    assert [one.state for one in await judged(path, public_keys=[key])] == [State.ALTERED]


async def test_a_signature_of_some_objects_is_not_one_of_the_image(workplace: Workplace) -> None:
    path = workplace.path("it.sif")
    write_sif(path)
    workplace.run("apptainer", "key", "newpair", "-N", "tests", "-E", "tests@example.org", "-C", "", "-P", "", "-U=false", "-b", "2048")
    workplace.run("apptainer", "sign", "--sif-id", "1", "it.sif")
    workplace.refused("apptainer", "verify", "--local", "it.sif")
    (verdict,) = await judged(path, workplace.path(".apptainer/keys/pgp-public").read_bytes())
    assert (verdict.state, "all objects" in str(verdict.reason)) == (State.ALTERED, True)


def table(shown: str) -> list[list[str]]:
    """The rows of `sif list`."""
    return [[cell.strip() for cell in line.split("|")] for line in shown.splitlines() if line[:1].isdigit()]


def test_apptainer_lists_and_runs_what_is_written(workplace: Workplace) -> None:
    sif = write_sif(workplace.path("it.sif"))
    header = workplace.run("apptainer", "sif", "header", "it.sif").out
    assert str(IDENTITY) in header and "amd64" in header and f"{len(sif.descriptors)}" in header
    rows = table(workplace.run("apptainer", "sif", "list", "it.sif").out)
    assert [row[0] for row in rows] == [str(found.identifier) for found in sif.descriptors]
    assert [row[3] for row in rows] == [f"{found.offset}-{found.end}" for found in sif.descriptors]
    assert [row[4].partition(" ")[0] for row in rows] == [
        "Def.FILE",
        "Env.Vars",
        "JSON.Labels",
        "JSON.Generic",
        "Generic/Raw",
        "SBOM",
        "Cryptographic",
        "FS",
    ]
    assert rows[-1][4] == "FS (Squashfs/*System/amd64)"
    assert workplace.run("apptainer", "sif", "dump", "1", "it.sif").out == "bootstrap: docker\nfrom: nowhere\n"
    assert workplace.run("apptainer", "exec", "it.sif", "cat", "/etc/seed").out == "ours"


def test_what_apptainer_builds_is_read(workplace: Workplace) -> None:
    with tarfile.open(fileobj=io.BytesIO(base_tar(base()))) as files:
        files.extractall(workplace.path("rootfs"), filter="tar")
    workplace.path("it.def").write_text("Bootstrap: localimage\nFrom: rootfs\n%labels\n  Kind test\n")
    workplace.run("apptainer", "build", "it.sif", "it.def")
    path = workplace.path("it.sif")
    sif = read(path)
    assert (sif.architecture, sif.encrypted, sif.launch_script) == ("amd64", False, "#!/usr/bin/env run-singularity\n")
    assert sif.primary is not None and sif.primary.object.detail == ROOT
    (definition,) = sif.of_type(DataType.DEFINITION)
    assert b"From: rootfs" in sif_format.content(reader(path), definition, 4096)
    labels = [
        json.loads(sif_format.content(reader(path), found, 1 << 20))
        for found in sif.of_type(DataType.GENERIC_JSON)
        if "metadata" in found.object.name
    ]
    assert labels and "test" in json.dumps(labels)


def test_a_signature_holds_on_what_is_written_and_on_what_is_copied(workplace: Workplace) -> None:
    """A signature covers the header and every field of the descriptors: a copy that it holds on is a faithful one."""
    path = workplace.path("it.sif")
    write_sif(path)
    workplace.run("apptainer", "key", "newpair", "-N", "Name", "-E", "name@example.org", "-C", "", "-P", "", "-U=false")
    workplace.run("apptainer", "sign", "it.sif")
    workplace.run("apptainer", "verify", "--local", "it.sif")
    sif, copy = read(path), workplace.path("copy.sif")
    signatures = sif.of_type(DataType.SIGNATURE)
    assert signatures
    assert all(isinstance(found.object.detail, Signature) and len(found.object.detail.fingerprint) == 20 for found in signatures)
    with copy.open("wb") as output:
        writer = Writer(output, identity=sif.identity, made=sif.created)
        for found in sif.descriptors:
            writer.add(found.object, [sif_format.content(reader(path), found, found.size)])
        assert [found.object for found in writer.finish().descriptors] == [found.object for found in sif.descriptors]
    assert "verified" in workplace.run("apptainer", "verify", "--local", "copy.sif").err.lower()
    changed = msgspec.structs.replace(sif.descriptors[0].object, name="another")
    with workplace.path("bad.sif").open("wb") as output:
        writer = Writer(output, identity=sif.identity, made=sif.created)
        for found in sif.descriptors:
            writer.add(changed if found.identifier == 1 else found.object, [sif_format.content(reader(path), found, found.size)])
        writer.finish()
    workplace.refused("apptainer", "verify", "--local", "bad.sif")


LOWER = [
    folder("./", 0o755),
    folder("etc", 0o750, owner=(0, 42)),
    entry("etc/secret", b"secret", mode=0),
    entry("etc/hidden", b"hidden"),
    entry("bin/su", b"su", mode=0o4755, xattrs={"security.capability": b"\x01\0\0\2\0 \0\0\0\0\0\0\0\0\0\0\0\0\0\0"}),
    folder("opaque", owner=(5, 6)),
    entry("opaque/old", b"old"),
    folder("opaque/deep"),
    entry("opaque/deep/old", b"old"),
    folder("touched", 0o700, owner=(3, 4)),
    entry("touched/old", b"old"),
    folder("real"),
    symlink("link", "/real"),
    symlink("up", "../../../real"),
    entry("target", b"linked", owner=(3_000_000, 1)),
    hard_link("survivor", "target"),
    entry("becomes-directory", b"file"),
    folder("becomes-file"),
    entry("becomes-file/inner", b"inner"),
    symlink("becomes-real", "real"),
    entry("dev/null", kind=tarfile.CHRTYPE, mode=0o666, device=(1, 3)),
    entry("dev/sda", kind=tarfile.BLKTYPE, mode=0o660, device=(8, 0)),
    entry("pipe", kind=tarfile.FIFOTYPE, mode=0o600),
    entry("new\nline", b"n"),
    entry("größe", b"u", xattrs={"user.note": b"text"}),
    entry("/".join(["d" * 120] * 4), b"long"),
    entry("twice", b"first"),
    entry("twice", b"second", mode=0o600),
    entry("sub/../../../outside", b"o"),
    entry("/absolute", b"a"),
]
UPPER = [
    entry("etc/.wh.hidden"),
    entry("opaque/new", b"new"),
    entry("opaque/deep/new", b"new"),
    entry("opaque/.wh..wh..opq"),
    entry("touched/new", b"new"),
    entry(".wh.touched"),
    entry("link/through", b"through"),
    entry("up/through-too", b"through"),
    entry(".wh.target"),
    hard_link("crosslink", "survivor"),
    folder("becomes-directory", 0o711),
    entry("becomes-directory/x", b"x"),
    entry("becomes-file", b"now a file"),
    folder("becomes-real", 0o755),
    entry("becomes-real/y", b"y"),
    entry("etc/secret", b"new secret", mode=0o400),
]


def test_layers_make_the_files_that_apptainer_unpacks(workplace: Workplace) -> None:
    lower, upper = base_tar(base()), archive(LOWER)
    tars = [lower, upper, archive(UPPER)]
    write_layout(workplace.path("layout"), {"latest": assemble(tars, [PLAIN] * 3, "amd64", False)})
    workplace.run("apptainer", "build", "--sandbox", "theirs", "oci:layout")
    ours_at = workplace.path("ours.sqfs")
    with ours_at.open("wb") as output:
        write_root(output, merged(*tars))
    ours, theirs = by_kernel(ours_at), snapshot(os.fsencode(workplace.path("theirs")))
    different = compared(ours, theirs)
    assert list(different) == [], different


ADDED = (".singularity.d", ".exec", ".run", ".shell", ".test", "singularity", "environment", "proc", "sys", "tmp", "var", "home", "root")
"""What Apptainer adds to any image at its top, where the image has none; in /dev and /etc it adds some files too."""
DESCRIBED = {info.name.strip("/") for info, _ in LOWER + UPPER}
CHANGED_LATER = {"", "etc", "dev", "touched", "opaque/deep"}
"""Directories in which Apptainer removes or adds something after it set their time."""


def compared(ours: Snapshot, theirs: Snapshot) -> dict[str, object]:
    """What differs: path → both records. Directories that no layer describes have each tool's own time, and the mode of its umask."""
    result: dict[str, object] = {}
    for path in ours.keys() | theirs.keys():
        if path not in ours and path.partition("/")[0] in (*ADDED, "dev", "etc"):
            continue
        records = [dict(found.get(path, {})) for found in (ours, theirs)]
        for record in records:
            is_directory = bool(record) and stat.S_ISDIR(int(str(record["mode"]), 8))
            if is_directory and path not in DESCRIBED:
                record["mode"] = record["time"] = "anything"
            elif path in CHANGED_LATER:
                record["time"] = "later"
        if records[0] != records[1]:
            result[path] = records
    return result


CONFIGURATIONS: dict[str, dict[str, object]] = {
    "nothing": {},
    "command": {"Cmd": ["echo", "from the command"]},
    "entrypoint": {"Entrypoint": ["/bin/echo", "from", "the entry point"]},
    "both": {"Entrypoint": ["/bin/echo", "entry"], "Cmd": ["and", "command"]},
    "quotes": {"Entrypoint": ["/bin/echo", "it's", 'a "quoted"  word', "back\\slash"], "Cmd": ["$HOME", "`id`", "*"]},
    "environment": {
        "Cmd": ["/bin/sh", "-c", "echo $GREETING"],
        "Env": ["PATH=/bin:/opt/bin", "GREETING=hello  you", "EMPTY=", "ODD-NAME=x"],
    },
    "labels": {"Cmd": ["true"], "Labels": {"maintainer": "somebody", "org.opencontainers.image.title": "A title", "empty": ""}},
    "directory": {"Cmd": ["/bin/ls", "/etc/passwd"], "WorkingDir": "/etc", "User": "1000:1000", "ExposedPorts": {"80/tcp": {}}},
}


def configured(name: str, tars: list[bytes]) -> Image:
    """An image of these layers with the configuration of this name."""
    plain = assemble(tars, [PLAIN] * len(tars), "amd64", False)
    configuration = {**json.loads(plain.blobs[0].data), "created": "2020-01-02T03:04:05Z", "config": CONFIGURATIONS[name]}
    return artifact(as_json(OCI_CONFIG, configuration), plain.blobs[1:])


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_converted_image_behaves_as_apptainers_own_conversion(workplace: Workplace, name: str) -> None:
    whole = configured(name, [base_tar(base()), base_tar({"etc/.wh.removed": b"", "opt/.wh..wh..opq": b"", "etc/seed": b"seed"})])
    write_layout(workplace.path("layout"), {"latest": whole})
    workplace.run("apptainer", "build", "theirs.sif", "oci:layout")
    layers: list[Open] = [partial(list, [blob.data]) for blob in whole.blobs[1:]]
    with workplace.path("ours.sif").open("wb") as output:
        convert(Source(Digest.parse(whole.digest), whole.blobs[0].data, layers), output, Conversion(threads=2))
    workplace.path("ours.sif").chmod(0o755)
    ours, theirs = (seen(workplace, file) for file in ("ours.sif", "theirs.sif"))
    assert ours == theirs


def seen(workplace: Workplace, file: str) -> dict[str, object]:
    """Everything of a SIF that a user sees, without what says when and by whom it was made."""
    metadata, configuration, partition = read(workplace.path(file)).descriptors[1:]
    kept = {
        name: json.loads(sif_format.content(reader(workplace.path(file)), found, 1 << 20))
        for name, found in (("metadata", metadata), ("oci", configuration))
    }
    labels = json.loads(workplace.run("apptainer", "inspect", "--labels", "--json", file).out)["data"]["attributes"]["labels"]
    root = workplace.path(f"{file}.root")
    root.write_bytes(sif_format.content(reader(workplace.path(file)), partition, 1 << 30))
    return {
        "run": workplace.run("apptainer", "run", file).out if has_command(kept["oci"]) else "",
        "run with arguments": workplace.run("apptainer", "run", file, "echo", "$GREETING", "two  words").out,
        "without evaluation": workplace.run("apptainer", "run", "--no-eval", file, "echo", "$GREETING", "it's").out,
        "with a variable": environment(workplace.run("apptainer", "exec", "--env", "GREETING=mine", file, "/bin/busybox", "env").out),
        "environment": environment(workplace.run("apptainer", "exec", "--cleanenv", file, "/bin/busybox", "env").out),
        "labels": {key: value for key, value in labels.items() if "build-date" not in key and ".usage." not in key},
        "oci": kept["oci"],
        "told": {"type": kept["metadata"]["type"], "keys": sorted(kept["metadata"]["data"]["attributes"])},
        "types": [
            (found.object.type, found.object.name, found.object.group, found.object.detail)
            for found in read(workplace.path(file)).descriptors
        ],
        "files": told_files(by_kernel(root)),
    }


def has_command(configuration: dict[str, object]) -> bool:
    return bool(configuration.get("Cmd") or configuration.get("Entrypoint"))


def environment(shown: str) -> dict[str, str]:
    """The variables, but for those that name the file."""
    variables = dict(line.partition("=")[::2] for line in shown.splitlines())
    return {name: value for name, value in variables.items() if not name.startswith(("APPTAINER", "SINGULARITY", "PROMPT")) and name != "_"}


def told_files(files: Snapshot) -> Snapshot:
    """Without the times of what is added, the content of the scripts, which are each tool's own, and those for apps, which no image has."""
    result: Snapshot = {}
    for path, record in files.items():
        if path in (".singularity.d/env/94-appsbase.sh", ".singularity.d/env/95-apps.sh"):
            continue
        changing = {"time", "size", "content"} if path.startswith(".singularity.d") else {"time"}
        result[path] = {key: value for key, value in record.items() if key not in changing}
    return result
