"""What the documentation tells people to type and to install, held against the programs that read it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
import typer

from roadstead.cli.main import app
from roadstead.cli.reference import walk
from tests.support.program import PROGRAM
from tests.support.server import RoadsteadServer, free_port, listening, poll
from tests.support.sifs import sif
from tests.support.user import User

ROOT = Path(__file__).parents[3]
COMMANDS = dict(walk(typer.main.get_command(app), ()))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TYPED = re.compile(r"^(?: {4})?(?:srun \S+ )?(?:\.venv/bin/)?roadstead ((?!-)[a-z].*)$", re.MULTILINE)


def block(page: str, kind: str) -> str:
    """The first fenced block of this kind on a page."""
    found = re.search(rf"```{kind}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert found, (page, kind)
    return found[1]


def typed() -> list[tuple[str, str]]:
    """Each command that stands as a line of its own, with its page; a line that goes on is taken whole."""
    return [(page.name, line.strip()) for page in PAGES for line in TYPED.findall(page.read_text().replace("\\\n", " "))]


def test_every_roadstead_command_in_the_documentation_is_one_with_these_options() -> None:
    lines = typed()
    assert len(lines) > 40
    for page, line in lines:
        words = shlex.split(line.partition("|")[0], comments=True)
        path = next((tuple(words[:length]) for length in (2, 1) if tuple(words[:length]) in COMMANDS), None)
        assert path, f"{page}: roadstead {line}"
        known = {option for one in COMMANDS[path].params for option in (*one.opts, *one.secondary_opts)} | {"--help"}
        given = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert given <= known, f"{page}: roadstead {line}"


def test_the_container_recipe_is_the_one_on_the_page_and_names_what_is_there() -> None:
    recipe = (ROOT / "Containerfile").read_text()
    assert block("docs/operations/container.md", "dockerfile") == recipe
    steps = dict(line.split(None, 1) for line in recipe.replace("\\\n", " ").splitlines())
    assert set(steps) == {"FROM", "RUN", "COPY", "USER", "ENV", "VOLUME", "EXPOSE", "ENTRYPOINT", "CMD"}
    assert "setup" in re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"(ROADSTEAD_[A-Z]+)=", steps["ENV"])) <= set(
        re.findall(r"ROADSTEAD_[A-Z_]+", (ROOT / "docs/reference/settings.md").read_text())
    )
    assert {".venv", ".cache", "roadstead-data"} <= set((ROOT / ".dockerignore").read_text().split())


def require(program: str, package: str) -> str:
    """Where it is. Skips by name where it is not installed; with ROADSTEAD_REQUIRE_OPERATIONS=1 that is a failure."""
    found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        reason = f"Debian package is missing: {package}"
        if os.environ.get("ROADSTEAD_REQUIRE_OPERATIONS") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return found


def test_the_unit_is_one_that_systemd_reads(tmp_path: Path) -> None:
    require("systemd-analyze", "systemd")
    unit = block("docs/operations/systemd.md", "ini")
    file = tmp_path / "roadstead.service"
    file.write_text(unit.replace("/opt/roadstead/.venv/bin/roadstead", "/bin/true").replace("User=roadstead", "User=root"))
    ended = subprocess.run(["systemd-analyze", "verify", "--man=no", str(file)], capture_output=True, text=True, check=False)
    told = [line for line in ended.stderr.splitlines() if "roadstead.service" in line]
    assert told == []
    file.write_text(file.read_text().replace("Restart=on-failure", "Restart=perhaps"))
    ended = subprocess.run(["systemd-analyze", "verify", "--man=no", str(file)], capture_output=True, text=True, check=False)
    assert "perhaps" in ended.stderr  # It would have told.


def test_a_sif_goes_up_and_comes_back_through_nginx_as_the_page_sets_it_up(tmp_path: Path) -> None:
    program = require("nginx", "nginx-light")
    require("openssl", "openssl")
    port = free_port()
    settings = {"ROADSTEAD_PUBLIC_URL": f"https://localhost:{port}", "ROADSTEAD_TRUSTED_PROXIES": "127.0.0.1", "ROADSTEAD_WORKERS": "1"}
    key, certificate = tmp_path / "it.key", tmp_path / "it.crt"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    make = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    subprocess.run([*make, *names], check=True, capture_output=True)
    with RoadsteadServer(tmp_path / "data", settings) as server:
        said = (
            block("docs/operations/nginx.md", "nginx")
            .replace("listen 443", f"listen 127.0.0.1:{port}")
            .replace("registry.example.org", "localhost")
        )
        said = said.replace("/etc/ssl/registry.crt", str(certificate)).replace("/etc/ssl/registry.key", str(key))
        said = said.replace("http://127.0.0.1:5000", server.url)
        own = "".join(f"{kind}_temp_path {tmp_path}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        user = "user root;" if os.geteuid() == 0 else ""
        whole = f"{user}\ndaemon off;\npid {tmp_path}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{own}{said}}}\n"
        (tmp_path / "nginx.conf").write_text(whole)
        proxy = subprocess.Popen([program, "-c", str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "errors")])
        try:
            assert poll(lambda: listening(port)), (tmp_path / "errors").read_text()
            somebody = User(tmp_path / "home", f"localhost:{port}")
            somebody.home.mkdir()
            somebody.plain = False
            somebody.environment["SSL_CERT_FILE"] = str(certificate)
            somebody.login()
            somebody.file("it.sif", sif())
            somebody.done("push", "it.sif", f"{somebody.host}/library/it:1")
            somebody.done("pull", f"{somebody.host}/library/it:1", "-o", "back.sif")
        finally:
            proxy.terminate()
            proxy.wait(30)
    assert (tmp_path / "home" / "back.sif").read_bytes() == sif()


def test_what_the_backup_page_copies_is_a_registry_again(tmp_path: Path) -> None:
    require("sqlite3", "sqlite3")
    with RoadsteadServer(tmp_path / "data", {"ROADSTEAD_WORKERS": "1"}) as server:
        somebody = User(tmp_path / "home", server.host)
        somebody.home.mkdir()
        somebody.login()
        somebody.file("it.sif", sif())
        somebody.done("push", "it.sif", f"{server.host}/library/it:1")
        (tmp_path / "backup").mkdir()
        said = (
            block("docs/operations/backup.md", "sh")
            .replace("/var/lib/roadstead", str(tmp_path / "data"))
            .replace("/backup", str(tmp_path / "backup"))
        )
        # rsync is not everywhere; the first copy is the same by cp.
        said = said.replace("rsync -a --delete-delay", "cp -rT")
        subprocess.run(["sh", "-ec", said], check=True)
    with RoadsteadServer(tmp_path / "backup", {"ROADSTEAD_WORKERS": "1"}) as again:
        somebody.host = again.host
        somebody.login()
        somebody.done("pull", f"{again.host}/library/it:1", "-o", "back.sif")
    assert (somebody.home / "back.sif").read_bytes() == sif()


def test_the_wheel_that_make_wheel_leaves_is_the_whole_program(tmp_path: Path) -> None:
    recipe = re.search(r"^wheel:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    (build,) = [line.strip().removeprefix("@") for line in recipe[1].splitlines() if "pip wheel" in line]
    made, place = tmp_path / "dist", tmp_path / "place"
    build = build.replace("$(VENV)", str(Path(sys.executable).parent)).replace("-w dist", f"-w {made}")
    subprocess.run(build, shell=True, check=True, cwd=ROOT)
    (wheel,) = made.iterdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
    here = {path.relative_to(ROOT / "src") for path in (ROOT / "src").rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert here == {path.relative_to(place) for path in (place / "roadstead").rglob("*") if path.is_file()}
    run = [sys.executable, "-c", "import roadstead; print(roadstead.__file__); from roadstead.cli import main; main()", "--version"]
    said = subprocess.run(
        run, env={**os.environ, "PYTHONPATH": str(place)}, cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert said.splitlines() == [str(place / "roadstead" / "__init__.py"), f"roadstead {version('roadstead')}"]


def completion(shell: str) -> str:
    """What `--show-completion` prints for a shell; which one that is it finds out by its parent, and a variable says it too."""
    environment = {**os.environ, "_ROADSTEAD_COMPLETE": f"source_{shell}"}
    return subprocess.run([PROGRAM], env=environment, capture_output=True, text=True, check=True).stdout


def test_fish_completes_what_is_typed(tmp_path: Path) -> None:
    fish = require("fish", "fish")
    environment = {"PATH": f"{PROGRAM.parent}:/usr/bin:/bin", "HOME": str(tmp_path)}
    script = completion("fish") + 'complete -C "roadstead pu"\n'
    ended = subprocess.run([fish, "--no-config", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert [line.partition("\t")[0] for line in ended.stdout.splitlines()] == ["pull", "push"]


def test_zsh_completes_what_is_typed(tmp_path: Path) -> None:
    zsh = require("zsh", "zsh")
    environment = {"PATH": f"{PROGRAM.parent}:/usr/bin:/bin", "HOME": str(tmp_path)}
    # What zsh shows needs a terminal; what it would be offered is what the function hands to _arguments.
    script = "autoload -U compinit; compinit -D -u\n" + completion("zsh").replace("#compdef roadstead\n", "")
    script += "print -r -- $_comps[roadstead]\n_arguments() { print -rl -- $@ }\nwords=(roadstead pu); CURRENT=2; $_comps[roadstead]\n"
    ended = subprocess.run([zsh, "-f", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout.startswith("_roadstead_completion\n"), ended.stderr
    assert re.findall(r'"(\w+)":"', ended.stdout) == ["pull", "push"]
