from __future__ import annotations

import hashlib
import subprocess
import sys
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography import x509

from roadstead.errors import InvalidInput, Misconfigured, NotFound
from roadstead.serving.request import Message, Request, Site
from roadstead.serving.response import Response
from roadstead.serving.tls import FileSource, OwnFiles, fingerprint
from roadstead.serving.tls_authority import Authority, SelfSigned, load_or_make
from roadstead.serving.trust import TrustDoor, script, trust_doors

HOST = "registry.example:5000"
NAMES = ("registry.example", "127.0.0.1", "::1", "*.cluster.example")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return load_or_make(tmp_path / "tls", datetime.now(UTC))


@pytest.fixture
def door(tmp_path: Path, authority: Authority) -> TrustDoor:
    return TrustDoor(SelfSigned(tmp_path / "tls", NAMES))


def request(path: str, host: str | None = HOST, method: str = "GET", site: Site | None = None, **headers: str) -> Request:
    lines = [(b"host", host.encode("latin-1"))] if host is not None else []
    lines += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"method": method, "path": path, "query_string": b"", "scheme": "https", "headers": lines, "client": ("127.0.0.1", 1)}

    async def receive() -> Message:
        raise AssertionError("nobody reads the body")

    return Request(scope, receive, site or Site(), "id")


def text(response: Response) -> str:
    assert isinstance(response.body, bytes)
    return response.body.decode()


async def test_the_certificate_is_served_as_one(door: TrustDoor, authority: Authority) -> None:
    response = await door.handle(request("/ca.crt"))
    assert (response.status, dict(response.headers)[b"content-type"]) == (200, b"application/x-x509-ca-cert")
    assert x509.load_pem_x509_certificate(text(response).encode()) == authority.certificate
    assert "PRIVATE" not in text(response)


@pytest.mark.parametrize("path", ["/trust", "/trust.sh"])
async def test_what_is_served_names_the_host_and_the_fingerprint_and_no_more(door: TrustDoor, authority: Authority, path: str) -> None:
    response = await door.handle(request(path))
    headers = dict(response.headers)
    assert response.status == 200
    assert HOST in text(response) and authority.fingerprint in text(response)
    assert "@" not in text(response).replace('"$@"', "") and "PRIVATE" not in text(response)
    assert (headers[b"cache-control"], headers[b"vary"]) == (b"no-store", b"host")


def test_the_fingerprint_is_that_of_openssl(authority: Authority, tmp_path: Path) -> None:
    command = ["openssl", "x509", "-in", str(tmp_path / "tls" / "ca.crt"), "-noout", "-fingerprint", "-sha256"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert printed.strip().partition("=")[2] == fingerprint(authority.certificate) == authority.fingerprint


@pytest.mark.parametrize("source", [None, FileSource(OwnFiles(Path("a"), Path("b")))], ids=["off", "own files"])
@pytest.mark.parametrize("path", ["/ca.crt", "/trust.sh", "/trust"])
async def test_without_an_authority_it_says_so(source: FileSource | None, path: str) -> None:
    door, asked = trust_doors(source)[path[1:]], request(path)
    with pytest.raises(NotFound) as refused:
        await door.handle(asked)
    response = door.render(refused.value, asked)
    assert (response.status, dict(response.headers)[b"content-type"]) == (404, b"text/plain; charset=utf-8")
    assert "ask the administrator which authority signed it" in text(response)


async def test_other_paths_and_methods_are_refused(door: TrustDoor) -> None:
    assert (await door.handle(request("/trust/x"))).status == 404
    assert (await door.handle(request("/trust", method="POST"))).status == 405


HOSTILE = [
    "evil'; rm -rf ~; '",
    "registry.example'$(id)'",
    "registry.example:5000;id",
    "registry.example:`id`",
    "registry.example\nrm",
    "registry.example/x",
    "user@registry.example",
    "registry.example,evil.example",
    "<script>",
    "r\xe9gistry.example",
    "[::1]'",
    "[::1",
    "registry.example:",
    "registry.example:99999999",
    "@CERTIFICATE@",
]


@pytest.mark.parametrize("path", ["/trust", "/trust.sh"])
@pytest.mark.parametrize("host", HOSTILE)
async def test_a_hostile_host_header_reaches_neither_script_nor_page(door: TrustDoor, host: str, path: str) -> None:
    assert (await refusal(door, request(path, host))).status == 400


async def refusal(door: TrustDoor, asked: Request) -> Response:
    """How the door says that the request's host is none; the host is not repeated."""
    with pytest.raises(InvalidInput) as error:
        await door.handle(asked)
    response = door.render(error.value, asked)
    assert (asked.header(b"x-forwarded-host") or asked.header(b"host") or "?") not in text(response)
    return response


@pytest.mark.parametrize("host", ["evil.example", "evil.example:443", "10.0.0.1", "registry.example.evil.example", "a.b.cluster.example"])
async def test_a_host_that_the_certificate_is_not_for_is_misdirected(door: TrustDoor, host: str) -> None:
    response = await door.handle(request("/trust.sh", host))
    assert response.status == 421
    assert "registry.example" in text(response)


@pytest.mark.parametrize("host", ["Registry.Example", "127.0.0.1:5000", "[::1]:5000", "node1.cluster.example"])
async def test_every_name_of_the_certificate_has_its_script(door: TrustDoor, host: str) -> None:
    response = await door.handle(request("/trust.sh", host))
    assert response.status == 200
    assert f"HOST='{host.lower()}'" in text(response)


async def test_the_public_address_wins_over_any_header(door: TrustDoor) -> None:
    response = await door.handle(request("/trust.sh", "evil'", site=Site("https://registry.example")))
    assert "HOST='registry.example'\n" in text(response)


async def test_forwarded_hosts_are_checked_as_well(door: TrustDoor) -> None:
    site = Site(None, (ip_network("127.0.0.1"),))
    assert (await refusal(door, request("/trust.sh", site=site, x_forwarded_host="x';id;'"))).status == 400
    assert (await door.handle(request("/trust.sh", site=site, x_forwarded_host="evil.example"))).status == 421


async def test_a_damaged_authority_is_not_explained_to_strangers(door: TrustDoor, tmp_path: Path) -> None:
    (tmp_path / "tls" / "ca.pem").write_bytes(b"")
    with pytest.raises(Misconfigured) as failure:
        await door.handle(request("/ca.crt"))
    response = door.render(failure.value, request("/ca.crt"))
    assert response.status == 500 and str(tmp_path) not in text(response)


def test_a_host_that_was_not_checked_is_refused_again(authority: Authority) -> None:
    with pytest.raises(AssertionError, match="not checked"):
        script("a'b", authority.certificate)


# What the script does, as far as it can be seen without being root; the journeys run it as root, with real clients.


class Script:
    """The script as it was served, in a user's home."""

    def __init__(self, home: Path, content: str) -> None:
        self.home = home
        self.path = home / "trust.sh"
        self.path.write_text(content)

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        environment = {"HOME": str(self.home), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        return subprocess.run(["sh", str(self.path), *options], capture_output=True, text=True, env=environment, check=False)

    def written(self) -> set[str]:
        return {str(path.relative_to(self.home)) for path in self.home.rglob("*") if path.is_file() and path != self.path}


@pytest.fixture
def served(tmp_path: Path, authority: Authority) -> Script:
    (tmp_path / "home").mkdir()
    return Script(tmp_path / "home", script(HOST, authority.certificate))


FOR_USER = {
    f".config/containers/certs.d/{HOST}/ca.crt",
    ".config/roadstead/registry.example_5000/ca.crt",
    ".config/roadstead/registry.example_5000/bundle.crt",
}


def test_shellcheck_finds_nothing(served: Script) -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run(
        [str(shellcheck), "--shell=sh", "--enable=all", "--exclude=SC2250,SC2310,SC2312,SC2248,SC2292", str(served.path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_a_user_is_set_up(served: Script, authority: Authority) -> None:
    done = served.run("--user", "--fingerprint", authority.fingerprint)
    assert done.returncode == 0, done.stderr
    assert served.written() == FOR_USER
    mine = served.home / ".config/roadstead/registry.example_5000"
    assert f"export SSL_CERT_FILE={mine}/bundle.crt" in done.stdout
    assert (mine / "bundle.crt").read_bytes().endswith(authority.pem)
    assert x509.load_pem_x509_certificate((mine / "ca.crt").read_bytes()) == authority.certificate


def test_doing_it_again_changes_nothing(served: Script) -> None:
    served.run("--user")
    before = {name: (served.home / name).read_bytes() for name in served.written()}
    assert served.run("--user").returncode == 0
    assert {name: (served.home / name).read_bytes() for name in served.written()} == before


def test_print_only_says_what_would_be_done(served: Script) -> None:
    said = served.run("--user", "--print").stdout
    assert served.written() == set()
    assert {line.removeprefix(f"write {served.home}/") for line in said.splitlines() if line.startswith("write ")} == FOR_USER


def test_another_fingerprint_stops_it(served: Script) -> None:
    wrong = hashlib.sha256(b"another").hexdigest()
    done = served.run("--user", "--fingerprint", wrong)
    assert done.returncode != 0 and "NOT the authority you expect" in done.stderr
    assert served.written() == set()


@pytest.mark.parametrize(
    "form", [str, str.lower, lambda text: text.replace(":", ""), lambda text: f"SHA256:{text}", lambda text: f"sha256={text}"]
)
def test_the_fingerprint_may_be_written_as_tools_write_it(served: Script, authority: Authority, form: object) -> None:
    assert callable(form)
    assert served.run("--user", "--fingerprint", form(authority.fingerprint)).returncode == 0


def test_a_script_whose_certificate_was_exchanged_stops(served: Script, authority: Authority, tmp_path: Path) -> None:
    other = load_or_make(tmp_path / "other", datetime.now(UTC))
    served.path.write_text(served.path.read_text().replace(authority.pem.decode().strip(), other.pem.decode().strip()))
    done = served.run("--user")
    assert done.returncode != 0 and "this script is damaged" in done.stderr
    assert served.written() == set()


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_a_script_of_which_a_part_arrived_does_nothing(served: Script, part: float) -> None:
    content = served.path.read_text()
    served.path.write_text(content[: int(len(content) * part)])
    served.run("--user")
    assert served.written() == set()


@pytest.mark.parametrize("options", [("--what",), ("--fingerprint",), ("x",)])
def test_an_unknown_option_stops_it(served: Script, options: tuple[str, ...]) -> None:
    assert served.run(*options).returncode != 0
    assert served.written() == set()
