"""Who knows only a browser gets from the start page to a pulled SIF: every command that is run here is copied from a page.

The person builds with Docker on a laptop, and both the laptop and the cluster trust the registry's authority; the registry is a host of
its own, `registry.test`, and has no port in its name.
"""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.journeys.test_who_may import tell
from tests.protocols.conftest import short_directory
from tests.support.browser import WINDOWS, chromium, log_in, picture, require_accessible
from tests.support.clients.images import OCI_MANIFEST, base, image, push, tar
from tests.support.clients.tools import Workplace, program, require_client
from tests.support.clients.trusting import UNTRUSTED, here, make_sif, newcomer, registry_with_tls, trust
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


def make_token(page: Page, name: str, level: str = "write") -> str:
    """By the menu and the form; the page then shows the secret, and how it is used."""
    page.locator("details.menu > summary").click()
    page.get_by_role("link", name="Access tokens").click()
    if not page.get_by_label("Name", exact=True).is_visible():
        page.get_by_text("New token").click()
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("It may").select_option(level)
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


def log_in_by(page: Page, workplace: Workplace, label: str, secret: str) -> None:
    """Run the login command of that label, as the page of a token shows it, and type the secret."""
    status, said = workplace.converse({"Password": secret}, *command(page, label))
    assert status == 0, said


def in_library(page: Page, workplace: Workplace, secret: str) -> None:
    """Run what stands above the commands for `library://`, where the project is not public: two commands, of which the second asks."""
    add, login = (shlex.split(one) for one in page.get_by_label("Apptainer, by library: once", exact=True).inner_text().split("&&"))
    workplace.run(*add)
    status, said = workplace.converse({"oken": secret}, *login)
    assert status == 0, said


def offered(page: Page) -> dict[str, list[str]]:
    """All commands of an artifact's page, those by digest too: label → words."""
    closed = page.get_by_text("By digest: the same bytes for ever")
    if page.locator("details:not([open])", has=closed).count():
        closed.click()
    found = page.locator(".command pre").all()
    return {str(one.get_attribute("aria-label")): shlex.split(one.inner_text()) for one in found}


def run_all(page: Page, workplace: Workplace, seed: str) -> list[str]:
    """Run every command that pulls, each as if it were the first, and look into what it brought; their labels."""
    done = []
    for label, words in offered(page).items():
        if ": once" in label:
            continue
        client, name = words[0], words[-1]
        if client == "docker":
            workplace.run(*words)
            ran = workplace.run("docker", "run", "--network", "none", "--rm", "--entrypoint", "cat", name, "/etc/seed")
            assert ran.out == seed, label
            workplace.run("docker", "rmi", name)
        elif client == "podman":
            workplace.run(*words)
            mounted = workplace.run("podman", "create", name, "true").out.strip()
            workplace.run("podman", "cp", f"{mounted}:/etc/seed", "seed")
            assert workplace.path("seed").read_text() == seed, label
            workplace.run("podman", "rm", mounted)
            workplace.run("podman", "rmi", name)
        else:
            before = set(workplace.home.iterdir())
            workplace.run(*words, environment={"APPTAINER_DISABLE_CACHE": "1"})
            (sif,) = (one for one in workplace.home.iterdir() if one not in before and one.is_file())
            assert workplace.run("apptainer", "exec", sif.name, "cat", "/etc/seed").out == seed, label
            sif.unlink()
        done.append(label)
    return done


ONCE, HERE, LIBRARY = "Apptainer, converted once by the registry", "Apptainer, converted on your machine", "Apptainer, by library"


def test_every_command_of_an_images_page_works(registry: RoadsteadServer, laptop: Workplace, browser: Browser) -> None:
    tell(registry, "project", "add", "reefs")
    tell(registry, "project", "member", "reefs", "ada", "--role", "guest")
    push(registry.http(), "reefs/model", "one", image("of layers"))
    page = window(browser, registry, "ada", PASSWORD)
    secret = make_token(page, "reefs")
    for label in ("docker", "podman", "apptainer"):
        log_in_by(page, laptop, label, secret)
    open_artifact(page, "reefs", "model", "one")
    in_library(page, laptop, secret)
    expected = ["Docker", "Podman", ONCE, HERE, LIBRARY, "Docker, by digest", "Podman, by digest", f"{HERE}, by digest"]
    assert run_all(page, laptop, "of layers") == expected
    page.reload()  # now it is converted, which has a digest of its own
    (made,) = set(offered(page)) - {*expected, f"{LIBRARY}: once"}
    assert made == f"{ONCE}, by digest"
    assert set(run_all(page, laptop, "of layers")) == {*expected, made}


def test_every_command_of_a_sifs_page_works(registry: RoadsteadServer, laptop: Workplace, browser: Browser) -> None:
    """It is pushed by what the page of an empty project says."""
    tell(registry, "project", "add", "tides")
    tell(registry, "project", "member", "tides", "ada", "--role", "developer")
    make_sif(laptop)
    page = window(browser, registry, "ada", PASSWORD)
    page.goto("/projects/tides")
    shown = [shlex.split(one) for one in page.locator("pre code").all_inner_texts()]
    login, upload = (words for words in shown if words[0] == "apptainer")
    secret = make_token(page, "tides")
    assert login == command(page, "apptainer")
    for label in ("docker", "podman", "apptainer"):
        log_in_by(page, laptop, label, secret)
    laptop.run(*(word.replace("IMAGE", "it") for word in upload))
    open_artifact(page, "tides", "it", "latest")
    in_library(page, laptop, secret)
    labels = ["Apptainer", "Docker", "Podman", LIBRARY, "Apptainer, by digest", f"{LIBRARY}, by digest"]
    assert run_all(page, laptop, "over TLS") == labels


def test_public_images_are_pulled_without_a_login(registry: RoadsteadServer, laptop: Workplace, browser: Browser) -> None:
    """Who is nobody has no session, no token and no remote; the page offers what works so, and nothing that changes anything."""
    make_sif(laptop)
    push(registry.http(), "library/open", "one", image("for all"))
    laptop.run("apptainer", "registry", "login", "-u", "admin", "--password-stdin", f"oras://{HOST}", stdin=registry.admin_password)
    laptop.run("apptainer", "push", "it.sif", f"oras://{HOST}/library/open-sif:one")
    laptop.run("apptainer", "registry", "logout", f"oras://{HOST}")
    page = browser.new_context(**WINDOWS["light"], ignore_https_errors=True, base_url=registry.url).new_page()
    names = {"open": "for all", "open-sif": "over TLS"}
    here_only = ["Docker", "Podman", HERE, "Docker, by digest", "Podman, by digest", f"{HERE}, by digest"]
    as_it_is = ["Apptainer", LIBRARY, "Apptainer, by digest", f"{LIBRARY}, by digest"]
    for (name, seed), labels in zip(names.items(), (here_only, as_it_is), strict=True):
        page.goto(f"/repositories/library/{name}:one")
        assert page.get_by_text("Delete this artifact").count() == page.get_by_role("button", name="Convert now").count() == 0
        assert run_all(page, laptop, seed) == labels  # nobody has had it converted yet, and nobody may
    with registry.http() as http:
        for path in ("open/manifests/one.sif", "open-sif/manifests/one.oci"):
            assert http.get(f"/v2/library/{path}", headers={"Accept": OCI_MANIFEST}).status_code == 200
    for (name, seed), more in zip(names.items(), ({ONCE, LIBRARY, f"{ONCE}, by digest"}, {"Docker", "Podman"}), strict=True):
        page.goto(f"/repositories/library/{name}:one")
        assert more < set(run_all(page, laptop, seed))
        assert offered(page)[LIBRARY] == ["apptainer", "pull", "--library", registry.url, f"library://library/{name}:one"]


HELP = {"overview": "/help", **{client: f"/help/{client}" for client in ("docker", "podman", "containerd", "apptainer")}}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_help_with_an_authority_of_its_own_can_be_used_by_everybody(registry: RoadsteadServer, browser: Browser, theme: str) -> None:
    page = browser.new_context(**WINDOWS[theme], ignore_https_errors=True, base_url=registry.url).new_page()
    for name, path in HELP.items():
        page.goto(path)
        expect(page.get_by_label("Run it", exact=True)).to_contain_text("--fingerprint")
        picture(page, f"help-tls-{name}-{theme}")
        require_accessible(page)


def trust_by_the_page(page: Page, workplace: Workplace, registry: RoadsteadServer) -> None:
    """Fetch and run the script as the page says, as root, with the fingerprint that the administrator has told; not with another."""
    (told,) = re.findall(r"SHA-256 fingerprint of the authority: (\S+)", registry.log.read_text())
    here(workplace, *command(page, "Fetch the script"))
    sudo, shell, *script = command(page, "Run it")
    assert (sudo, shell, script[-1]) == ("sudo", "sh", "FINGERPRINT")
    installed = str(workplace.home / shell)
    assert "NOT the authority" in workplace.refused(installed, *script[:-1], "00:" + told[3:])
    workplace.run(installed, *script[:-1], told)


def test_a_newcomer_trusts_the_registry_by_what_the_help_says(registry: RoadsteadServer, browser: Browser) -> None:
    """Without it no client comes to ask for a password; after it each logs in, by the command on its own page, and pulls."""
    require_client("dockerd")
    push(registry.http(), "library/hello", "one", image("by the help"))
    page = window(browser, registry, "ada", PASSWORD)
    secret = make_token(page, "newcomer")
    with newcomer() as workplace, short_directory() as directory:
        page.goto("/help/docker")
        mirror = json.loads(page.get_by_label("daemon.json", exact=True).inner_text())
        assert mirror == {"registry-mirrors": [registry.url]}
        with docker_daemon(directory, {**CLASSIC_STORE, **mirror}) as host:
            workplace.environment["DOCKER_HOST"] = host
            status, said = workplace.converse({"Password": secret}, *command(page, "Log in"))
            assert status != 0 and UNTRUSTED.search(said), said
            assert UNTRUSTED.search(workplace.refused("apptainer", "pull", "no.sif", f"docker://{HOST}/library/hello:one"))
            trust_by_the_page(page, workplace, registry)
            log_in_by(page, workplace, "Log in", secret)
            pull = [one.replace("PROJECT/NAME:TAG", "library/hello:one") for one in command(page, "Pull")]
            workplace.run(*pull)
            workplace.run("docker", "pull", "hello:one")  # which is asked of the mirror
            assert workplace.run("docker", "run", "--network", "none", "--rm", "hello:one", "cat", "/etc/seed").out == "by the help"
        page.goto("/help/podman")
        log_in_by(page, workplace, "Log in", secret)
        workplace.run(*(one.replace("PROJECT/NAME:TAG", "library/hello:one") for one in command(page, "Pull")))
        page.goto("/help/apptainer")
        log_in_by(page, workplace, "Log in", secret)
        for label in ("As a SIF", "As layers"):
            words = [
                one.replace("PROJECT/NAME:TAG", "library/hello:one").replace("NAME", label.split()[-1]) for one in command(page, label)
            ]
            workplace.run(*words)
            assert workplace.run("apptainer", "exec", words[-2], "cat", "/etc/seed").out == "by the help"


def test_the_mirrors_that_the_help_tells_of_are_this_registry(registry: RoadsteadServer, laptop: Workplace, browser: Browser) -> None:
    push(registry.http(), "library/hub/library/busy", "one", image("from the mirror"))
    page = window(browser, registry, "ada", PASSWORD)
    page.goto("/help/containerd")
    own, hub = (tomllib.loads(one) for one in page.get_by_label("hosts.toml", exact=True).all_inner_texts())
    assert own == {"server": registry.url, "host": {registry.url: {"ca": f"/etc/containerd/certs.d/{HOST}/ca.crt"}}}
    told = {"capabilities": ["pull", "resolve"], "override_path": True}
    assert hub == {"server": "https://registry-1.docker.io", "host": {f"{registry.url}/v2/PROJECT": told}}
    page.goto("/help/podman")
    text = page.get_by_label("mirror.conf", exact=True).inner_text()
    assert tomllib.loads(text) == {"registry": [{"location": "docker.io", "mirror": [{"location": f"{HOST}/PROJECT"}]}]}
    settings = laptop.path(".config/containers/registries.conf.d/mirror.conf")
    settings.parent.mkdir(parents=True)
    settings.write_text(text.replace("PROJECT", "library/hub"))
    laptop.run("podman", "pull", "docker.io/library/busy:one")


def test_containerd_pulls_by_what_the_help_says(registry: RoadsteadServer, laptop: Workplace, browser: Browser) -> None:
    """That of the Docker daemon, once /trust.sh has told it of the registry; and as a mirror of Docker Hub, by the page's file."""
    push(registry.http(), "library/cargo", "one", image("for containerd"))
    push(registry.http(), "library/hub/library/freight", "one", image("from the mirror"))
    page = window(browser, registry, "ada", PASSWORD)
    page.goto("/help/containerd")
    root = laptop.environment["DOCKER_HOST"].removeprefix("unix://").removesuffix("docker.sock")
    laptop.environment["CONTAINERD_ADDRESS"] = f"{root}exec/containerd/containerd.sock"
    (laptop.home / "ctr").symlink_to(program("dockerd"))  # the wrapper runs what it is called
    ctr, *pull = command(page, "ctr")
    assert ctr == "ctr"
    *options, name = pull
    laptop.run(str(laptop.home / ctr), *options, name.replace("PROJECT/NAME:TAG", "library/cargo:one"))
    _, mirror = page.get_by_label("hosts.toml", exact=True).all_inner_texts()
    laptop.path("hosts.toml").write_text(mirror.replace("PROJECT", "library/hub"))
    laptop.run(str(laptop.home / "sh"), "-c", "cd /etc/containerd/certs.d && mkdir docker.io && cp ~/hosts.toml docker.io")
    laptop.run(str(laptop.home / ctr), *options, "docker.io/library/freight:one")
    pulled = laptop.run(str(laptop.home / ctr), "images", "list", "-q").out.split()
    assert pulled == ["docker.io/library/freight:one", f"{HOST}/library/cargo:one"]


ROLES = {"limitedGuest": set[str](), "guest": set[str](), "developer": {"push"}, "maintainer": {"push", "delete"}}
"""What each may do beside pulling."""


def test_each_role_is_offered_what_its_clients_may_do(registry: RoadsteadServer, laptop: Workplace, browser: Browser) -> None:
    tell(registry, "project", "add", "currents")
    push(registry.http(), "currents/model", "one", image("for members"))
    name = f"{HOST}/currents/model"
    for role, may in ROLES.items():
        account = role.lower()
        tell(registry, "user", "add", account, said=PASSWORD + "\n")
        tell(registry, "project", "member", "currents", account, "--role", role)
        page = window(browser, registry, account, PASSWORD)
        secret = make_token(page, "laptop", "delete")
        laptop.environment["DOCKER_CONFIG"] = str(laptop.path(f"docker-of-{role}"))
        assert "denied" in (said := laptop.refused("docker", "pull", f"{name}:one").lower()) or "unauthorized" in said, said
        log_in_by(page, laptop, "docker", secret)
        open_artifact(page, "currents", "model", "one")
        laptop.run(*command(page, "Docker"))
        laptop.run("docker", "tag", f"{name}:one", f"{name}:{account}")
        laptop.run("docker", "rmi", f"{name}:one")
        if "push" in may:
            laptop.run("docker", "push", f"{name}:{account}")
        else:
            assert "denied" in laptop.refused("docker", "push", f"{name}:{account}")
        page.reload()
        assert bool(page.get_by_text("Delete this artifact").count()) == ("delete" in may), role
    open_artifact(page, "currents", "model", "one")
    page.get_by_text("Delete this artifact").click()
    page.get_by_role("button", name="Delete the artifact").click()
    expect(page.get_by_role("status").first).to_contain_text("is deleted")
    assert "not found" in laptop.refused("docker", "pull", f"{name}:one").lower()
