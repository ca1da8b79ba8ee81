"""An SQLite file on a network file system is refused with the reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from roadstead.errors import Misconfigured
from roadstead.metadata import migrations
from roadstead.metadata.database import open_database, sqlite_path
from roadstead.metadata.location import NETWORK_FILE_SYSTEMS, file_system_type, require_local

# /proc/self/mountinfo as Linux writes it (proc(5)): id, parent, major:minor, root, mount point, options, optional fields, "-", type, …
ROOT = "25 1 {other} / / rw,relatime shared:1 - ext4 /dev/sda1 rw"
MOUNTS = {
    "nfs4": "412 25 {here} / /home rw,relatime shared:220 - nfs4 filer:/export/home rw,vers=4.2,proto=tcp,local_lock=none",
    "nfs": "413 25 {here} / /scratch rw,relatime - nfs filer:/scratch rw,vers=3,nolock",
    "lustre": "77 25 {here} / /lustre rw,flock shared:9 master:3 - lustre 10.0.0.1@o2ib:/work rw,checksum,flock",
    "gpfs": "78 25 {here} / /gpfs rw shared:10 - gpfs fs1 rw",
    "fuse.sshfs": "79 25 {here} / /mnt rw,nosuid - fuse.sshfs host:/ rw,user_id=0",
    "ext4": "80 25 {here} / /var rw shared:3 - ext4 /dev/mapper/vg-var rw",
    "xfs": "81 25 {here} /sub /srv rw - xfs /dev/sdb1 rw,attr2",
    "tmpfs": "82 25 {here} / /tmp rw shared:5 - tmpfs tmpfs rw",
}


def mountinfo(kind: str, directory: Path) -> str:
    device = directory.stat().st_dev
    here = f"{os.major(device)}:{os.minor(device)}"
    return "\n".join(line.format(here=here, other="259:77") for line in (ROOT, MOUNTS[kind])) + "\n"


@pytest.mark.parametrize("kind", [kind for kind in MOUNTS if kind in NETWORK_FILE_SYSTEMS])
def test_a_network_file_system_is_refused_with_the_reason(kind: str, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as raised:
        require_local(tmp_path, mountinfo(kind, tmp_path))
    assert f"{tmp_path} is on {kind}," in raised.value.message
    assert "PostgreSQL" in raised.value.message


@pytest.mark.parametrize("kind", [kind for kind in MOUNTS if kind not in NETWORK_FILE_SYSTEMS])
def test_a_local_file_system_is_taken(kind: str, tmp_path: Path) -> None:
    assert file_system_type(tmp_path, mountinfo(kind, tmp_path)) == kind
    require_local(tmp_path, mountinfo(kind, tmp_path))


def test_what_cannot_be_told_is_taken(tmp_path: Path) -> None:
    assert file_system_type(tmp_path, ROOT.format(other="259:77")) is None
    require_local(tmp_path, "")


async def test_this_machine_is_asked_before_the_database_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roadstead.metadata.location.file_system_type", lambda _directory, _mountinfo: "lustre")
    with pytest.raises(Misconfigured, match="lustre"):
        await migrations.upgrade(f"sqlite:///{tmp_path}/data/roadstead.sqlite")
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_without_a_file_is_refused(url: str) -> None:
    with pytest.raises(Misconfigured, match="needs a file"):
        sqlite_path(url)


async def test_another_kind_of_database_is_refused_without_its_password() -> None:
    with pytest.raises(Misconfigured) as raised:
        await open_database("mysql://roadstead:s3cret@localhost/registry")
    assert "mysql" in raised.value.message
    assert "s3cret" not in raised.value.message
