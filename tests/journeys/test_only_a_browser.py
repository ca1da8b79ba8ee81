"""Who knows only a browser gets from the start page to a pulled SIF: every command that is run here is copied from a page.

The person builds with Docker on a laptop, and both the laptop and the cluster trust the registry's authority; the registry is a host of
its own, `registry.test`, and has no port in its name.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.journeys.test_who_may import tell
from tests.protocols.conftest import short_directory
from tests.support.browser import WINDOWS, chromium, log_in, picture, require_accessible
from tests.support.clients.images import base, tar
from tests.support.clients.tools import Workplace, require_client
from tests.support.clients.trusting import newcomer, registry_with_tls, trust
from tests.support.daemons import CLASSIC_STORE, docker_daemon
from tests.support.server import RoadsteadServer

pytestmark = pytest.mark.clients

HOST = "registry.test"
PASSWORD = "a keel of old oak"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoadsteadServer]:
    """A registry where ada has an account and nothing else."""
    require_client("apptainer")
    with registry_with_tls(tmp_path_factory.mktemp("browser"), HOST) as server:
        tell(server, "user", "add", "ada", said=PASSWORD + "\n")
        yield server


@pytest.fixture
def laptop(registry: RoadsteadServer) -> Iterator[Workplace]:
    """A machine with Docker, whose administrator has run the registry's /trust.sh."""
    require_client("dockerd")
    with newcomer() as workplace:
        trust(workplace, registry)
        with short_directory() as directory, docker_daemon(directory, CLASSIC_STORE) as host:
            workplace.environment["DOCKER_HOST"] = host
            yield workplace


@pytest.fixture
def browser(registry: RoadsteadServer) -> Iterator[Browser]:
    """On the registry's network."""
    with chromium() as browser:
        yield browser


def command(page: Page, label: str) -> list[str]:
    """The words of the command that stands below that label."""
    return shlex.split(page.get_by_label(label, exact=True).inner_text())


def exported(page: Page) -> dict[str, str]:
    """What the page says to put into the environment."""
    lines = page.get_by_label("environment", exact=True).inner_text().splitlines()
    return dict(shlex.split(line)[1].split("=", 1) for line in lines)


def window(browser: Browser, registry: RoadsteadServer, name: str, password: str) -> Page:
    """A window of somebody who has logged in."""
    page = browser.new_context(**WINDOWS["light"], ignore_https_errors=True, base_url=registry.url).new_page()
    log_in(page, registry.url, name, password)
    return page


def make_project(page: Page, name: str, member: str) -> None:
    """By the form on the page of projects, and the one on the page of its members."""
    page.get_by_role("link", name="Projects", exact=True).first.click()
    page.get_by_text("New project").click()
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_role("button", name="Create the project").click()
    expect(page.get_by_role("heading", name=name)).to_be_visible()
    page.get_by_role("link", name="Members", exact=True).click()
    page.get_by_text("Add a member").click()
    page.get_by_label("Name", exact=True).fill(member)
    page.get_by_label("Role", exact=True).select_option("maintainer")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_label(f"Role of {member}")).to_have_value("maintainer")


def make_token(page: Page, name: str) -> str:
    """By the menu and the form; the page then shows the secret, and how it is used."""
    page.locator("details.menu > summary").click()
    page.get_by_role("link", name="Access tokens").click()
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("It may").select_option("write")
    page.get_by_role("button", name="Make the token").click()
    require_accessible(page)
    return page.get_by_label("Secret", exact=True).inner_text()


def open_artifact(page: Page, project: str, repository: str, tag: str) -> None:
    """From the start page, as people look for what they have pushed."""
    page.goto(f"https://{HOST}/")
    page.get_by_role("link", name="Projects", exact=True).first.click()
    page.get_by_role("main").get_by_role("link", name=project, exact=True).first.click()
    page.get_by_role("main").get_by_role("link", name=repository, exact=True).first.click()
    page.get_by_role("main").get_by_role("link", name=tag, exact=True).first.click()
    expect(page.get_by_role("heading", name="Pull it")).to_be_visible()


def pull_sif(page: Page, label: str, environment: dict[str, str]) -> str:
    """Run the command of that label on a cluster that has nothing yet; what its image has in /etc/seed."""
    with short_directory() as home:
        cluster = Workplace(home)
        words = command(page, label)
        assert "authentication required" in (said := cluster.refused(*words).lower()) or "unauthorized" in said or "denied" in said, said
        cluster.run(*words, environment=environment)
        (sif,) = home.glob("*.sif")
        return cluster.run("apptainer", "exec", sif.name, "cat", "/etc/seed").out


def test_from_the_start_page_to_a_pulled_sif(registry: RoadsteadServer, laptop: Workplace, browser: Browser) -> None:
    make_project(window(browser, registry, "admin", registry.admin_password), "oceans", "ada")
    page = window(browser, registry, "ada", PASSWORD)
    page.get_by_role("link", name="Projects", exact=True).first.click()
    page.get_by_role("link", name="oceans", exact=True).click()
    shown = [one.replace("IMAGE", "model") for one in page.locator("pre code").all_inner_texts()]
    login, prepare, push = [shlex.split(one) for one in shown if one.startswith("docker ")]
    assert login == ["docker", "login", HOST]

    secret = make_token(page, "laptop")
    picture(page, "token-secret")
    environment = exported(page)
    status, said = laptop.converse({"Password:": secret}, *command(page, "docker"))
    assert status == 0, said

    laptop.path("rootfs.tar").write_bytes(tar({**base(), "etc/seed": b"from a browser"}))
    laptop.run("docker", "import", "rootfs.tar", "model")
    laptop.run(*prepare)
    laptop.run(*push)

    open_artifact(page, "oceans", "model", "latest")
    require_accessible(page)
    picture(page, "artifact-of-a-push")
    pushed = push[-1]
    laptop.run("docker", "rmi", pushed)
    laptop.run(*command(page, "Docker"))
    assert laptop.run("docker", "run", "--network", "none", "--rm", pushed, "cat", "/etc/seed").out == "from a browser"
    page.get_by_role("button", name="Convert now").click()
    expect(page.get_by_role("region", name="Other forms")).to_contain_text("converted", timeout=60_000)  # it follows, without a click
    require_accessible(page)
    picture(page, "artifact-converted")
    for label in ("Apptainer, converted once by the registry", "Apptainer, converted on your machine"):
        assert pull_sif(page, label, environment) == "from a browser"

    page.get_by_text("Delete this artifact").click()
    expect(page.get_by_text("with 1 tag (latest)")).to_be_visible()
    page.get_by_role("button", name="Delete the artifact").click()
    expect(page.get_by_role("status").first).to_contain_text("is deleted")
    assert "not found" in laptop.refused("docker", "pull", pushed).lower()


def describe_cluster(page: Page, name: str, driver: str) -> None:
    """By the form of the administration."""
    page.goto("/admin/clusters")
    page.get_by_text("Describe a cluster").click()
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("x86-64 level").select_option("3")
    page.get_by_label("glibc").fill("2.34")
    page.get_by_label("NVIDIA driver").fill(driver)
    page.get_by_role("button", name="Describe it").click()
    expect(page.get_by_role("row", name=name)).to_contain_text(driver)


def test_an_images_page_says_on_which_clusters_it_runs(registry: RoadsteadServer, laptop: Workplace, browser: Browser) -> None:
    page = window(browser, registry, "admin", registry.admin_password)
    describe_cluster(page, "kestrel", "550.54.14")
    describe_cluster(page, "osprey", "470.82.01")
    release = b'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n'
    laptop.path("cuda.tar").write_bytes(tar({**base(), "etc/os-release": release}))
    name = f"{HOST}/library/cuda:12"
    laptop.run("docker", "import", "--change", "ENV CUDA_VERSION=12.4.1", "cuda.tar", name)
    status, said = laptop.converse({"Username:": "admin", "Password:": registry.admin_password}, "docker", "login", HOST)
    assert status == 0, said
    laptop.run("docker", "push", name)
    page.goto("/repositories/library/cuda:12")
    runs = page.get_by_role("region", name="Where it runs")
    expect(runs.get_by_role("row", name="osprey")).to_contain_text("no", timeout=60_000)
    require_accessible(page)
    picture(page, "where-it-runs")
    assert "550" in (shown := runs.get_by_role("row", name="kestrel").inner_text()) and "yes" in shown, shown
    assert "470.82.01" in (shown := runs.get_by_role("row", name="osprey").inner_text()) and "CUDA 12.4" in shown, shown
    expect(page.get_by_text("Debian GNU/Linux 12 (bookworm)")).to_be_visible()
    page.goto("/search?q=cuda%3E%3D12")
    expect(page.get_by_role("main").get_by_role("link", name="library/cuda").first).to_be_visible()
