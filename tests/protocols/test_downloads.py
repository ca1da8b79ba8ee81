"""SIFs as files for programs that know no registry: wget, curl, and apptainer with an ordinary link."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.support.clients.cutting import cutting_proxy
from tests.support.clients.images import SIF_CONFIG, SIF_LAYER, Blob, artifact, image, push
from tests.support.clients.tools import Workplace
from tests.support.clients.trusting import here, make_sif
from tests.support.server import RoadsteadServer
from tests.support.sifs import container, root, squashfs

LARGE = container([(root(), squashfs(size=5 << 20, used=5 << 20))])


def failed(workplace: Workplace, *command: str) -> str:
    """Run one of this system's own programs to failure; what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=workplace.home, env=workplace.environment, check=False)
    assert done.returncode != 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture
def link(registry: RoadsteadServer, repository: str) -> str:
    """The path of a SIF of 5 MiB."""
    push(registry.http(), repository, "1.0", artifact(Blob(SIF_CONFIG, b"{}"), [Blob(SIF_LAYER, LARGE)]))
    return f"/sif/{repository}/1.0.sif"


def test_wget_and_curl_name_the_file_by_the_link_or_by_the_server(workplace: Workplace, registry: RoadsteadServer, link: str) -> None:
    named = f"{link.split('/')[-2]}_1.0.sif"
    here(workplace, "wget", "-q", registry.url + link)
    here(workplace, "wget", "-q", "--content-disposition", registry.url + link)
    here(workplace, "curl", "-fsS", "-o", "by-curl.sif", registry.url + link)
    for file in ("1.0.sif", named, "by-curl.sif"):
        assert workplace.path(file).read_bytes() == LARGE
    workplace.path(named).unlink()
    here(workplace, "curl", "-fsSOJ", registry.url + link)
    assert workplace.path(named).read_bytes() == LARGE


@pytest.mark.parametrize(
    "command", [["wget", "-c", "-q", "-O", "it.sif"], ["curl", "-fsS", "-C", "-", "-o", "it.sif"]], ids=["wget", "curl"]
)
def test_a_download_goes_on_where_it_was_broken_off(workplace: Workplace, registry: RoadsteadServer, link: str, command: list[str]) -> None:
    workplace.path("it.sif").write_bytes(LARGE[: 3 << 20])
    here(workplace, *command, registry.url + link)
    assert workplace.path("it.sif").read_bytes() == LARGE


def test_wget_resumes_by_itself(workplace: Workplace, registry: RoadsteadServer, link: str) -> None:
    with cutting_proxy(registry.host, after=2 << 20) as proxy:
        here(workplace, "wget", "-q", "--tries=5", "--waitretry=0", "-O", "it.sif", f"http://{proxy.host}{link}")
        assert proxy.resumed()[:1] == [206]
    assert workplace.path("it.sif").read_bytes() == LARGE


def test_a_private_project_takes_name_and_password(workplace: Workplace, registry: RoadsteadServer) -> None:
    http = registry.http()
    http.post("/api/v2.0/projects", json={"project_name": "downloads", "public": False}).raise_for_status()
    push(http, "downloads/it", "1.0", artifact(Blob(SIF_CONFIG, b"{}"), [Blob(SIF_LAYER, LARGE)]))
    link = f"{registry.url}/sif/downloads/it/1.0.sif"
    assert "401" in failed(workplace, "wget", link)
    assert "401" in failed(workplace, "wget", "--user=admin", "--password=wrong", link)
    assert "401" in failed(workplace, "curl", "-fsS", "-O", link)
    here(workplace, "wget", "-q", "--user=admin", f"--password={registry.admin_password}", "-O", "by-wget.sif", link)
    here(workplace, "curl", "-fsS", "-u", f"admin:{registry.admin_password}", "-o", "by-curl.sif", link)
    for file in ("by-wget.sif", "by-curl.sif"):
        assert workplace.path(file).read_bytes() == LARGE


def test_what_is_missing_is_told(workplace: Workplace, registry: RoadsteadServer, link: str) -> None:
    absent = registry.url + link.replace("1.0", "2.0")
    said = failed(workplace, "wget", "--content-on-error", "-O", "-", absent)
    assert "404" in said and "2.0" in said
    assert "2.0" in here(workplace, "curl", "-sS", absent)


@pytest.mark.clients("apptainer")
def test_apptainer_pulls_and_runs_what_was_pushed(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    data = make_sif(workplace)
    push(registry.http(), repository, "1.0", artifact(Blob(SIF_CONFIG, b"{}"), [Blob(SIF_LAYER, data)]))
    link = f"{registry.url}/sif/{repository}/1.0.sif"
    workplace.run("apptainer", "pull", "back.sif", link)
    assert workplace.path("back.sif").read_bytes() == data
    assert workplace.run("apptainer", "exec", "back.sif", "cat", "/etc/seed").out == "over TLS"
    assert workplace.run("apptainer", "exec", link, "cat", "/etc/seed").out == "over TLS"


@pytest.mark.clients("apptainer")
def test_an_image_is_downloaded_as_the_sif_that_is_made_of_it(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    push(registry.http(), repository, "1.0", image(repository))
    link = f"{registry.url}/sif/{repository}/1.0.sif"
    here(workplace, "curl", "-fsS", "-u", f"admin:{registry.admin_password}", "-o", "by-curl.sif", link)
    assert workplace.run("apptainer", "exec", "by-curl.sif", "cat", "/etc/seed").out == repository
    # It has been made, and so anybody who may pull the image may have it.
    workplace.run("apptainer", "pull", "back.sif", link)
    workplace.run("apptainer", "pull", "--no-https", "by-oras.sif", f"oras://{registry.host}/{repository}:1.0.sif")
    for file in ("back.sif", "by-oras.sif"):
        assert workplace.path(file).read_bytes() == workplace.path("by-curl.sif").read_bytes()
    labels = json.loads(workplace.run("apptainer", "inspect", "--labels", "--json", "by-curl.sif").out)["data"]["attributes"]["labels"]
    manifest = registry.http().get(f"/v2/{repository}/manifests/1.0.sif").headers["docker-content-digest"]
    project, _, path = repository.partition("/")
    place = f"/api/v2.0/projects/{project}/repositories/{path.replace('/', '%252F')}/artifacts/{manifest}"
    told = registry.http().get(place).raise_for_status().json()
    assert (told["type"], told["extra_attrs"]["architecture"]) == ("SIF", "amd64")
    assert told["extra_attrs"]["labels"] == labels
    assert "for arm64" in here(workplace, "curl", "-sS", f"{link}?platform=linux/arm64")
