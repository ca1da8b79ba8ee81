"""Pushing the images of `factories` over HTTP, and writing names as clients of Harbor's API write them."""

from __future__ import annotations

from urllib.parse import quote

import httpx2

from tests.support.factories import Image


def push(http: httpx2.Client, name: str, image: Image, *tags: str) -> None:
    """Push an image with its blobs; `http` has any path of the registry as its base."""
    root = str(http.base_url).partition("/api/")[0].rstrip("/")
    for blob in image.blobs:
        sent = http.post(f"{root}/v2/{name}/blobs/uploads/?digest={blob.digest}", content=blob.content)
        assert sent.status_code == 201, sent.text
    for reference in (str(image.digest), *tags):
        put = http.put(f"{root}/v2/{name}/manifests/{reference}", content=image.content, headers={"Content-Type": image.media_type})
        assert put.status_code == 201, put.text


def address(name: str, *more: str) -> str:
    """The path of a repository, whose name is encoded twice, or of something in it."""
    project, _, path = name.partition("/")
    return "/".join([f"/projects/{project}/repositories/{quote(quote(path, safe=''), safe='')}", *more])
