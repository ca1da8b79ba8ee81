from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from roadstead.content.filesystem import FilesystemStore
from roadstead.content.memory import MemoryStore
from roadstead.content.opening import open_store
from roadstead.errors import Misconfigured, StoreFailed


async def test_memory() -> None:
    assert isinstance(await open_store("memory:"), MemoryStore)


async def test_a_directory_is_made(tmp_path: Path) -> None:
    store = await open_store(f"file://{tmp_path}/a%20b/c")
    assert isinstance(store, FilesystemStore)
    assert (tmp_path / "a b" / "c" / "content" / "ff").is_dir()
    await store.close()


async def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreFailed):
        await open_store(f"file://{tmp_path}/file/content")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "begins with file:///, s3:// or memory:"),
        ("/var/lib/roadstead", "begins with file:///, s3:// or memory:"),
        ("ftp://host/path", "begins with file:///, s3:// or memory:"),
        ("file://var/lib", "absolute path"),
        ("file:relative", "absolute path"),
        ("file:///data?region=x", "absolute path"),
        ("s3://", "names no bucket"),
        ("s3:///prefix", "names no bucket"),
        ("s3://bucket?endpoint=s3.example.org", "https:// or http://"),
        ("s3://bucket?redirect=perhaps", "redirect"),
        ("s3://bucket?valid=0", "from 1 to 86400"),
        ("s3://bucket?valid=86401", "from 1 to 86400"),
        ("s3://bucket?valid=long", "valid"),
        ("s3://bucket?regoin=x", "regoin"),
        ("s3://bucket?region", "region"),
    ],
)
async def test_a_url_that_is_not_understood_says_why(url: str, says: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        await open_store(url)
    assert says in caught.value.message


async def test_a_bucket_without_credentials_says_how_to_give_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(Misconfigured, match="AWS_ACCESS_KEY_ID"):
        await open_store("s3://bucket?endpoint=http://127.0.0.1:9")


def test_the_s3_client_is_loaded_only_for_s3() -> None:
    code = "import sys, roadstead.content.opening; sys.exit('aiobotocore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
