"""What an image's configuration says of running it, and the files and objects by which Apptainer is told the same.

The configuration is that of image-spec v1.1, config.md. Which files Apptainer reads is told by its user guide ("Environment and
Metadata", "Container Metadata") and by what it makes itself; the scripts here are our own.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from roadstead.errors import InvalidManifest
from roadstead.oci.digest import Digest
from roadstead.sif.layers import Layer
from roadstead.sif.tree import NONE, ROOT, Tree

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = (
    "January February March April May June July August September October November December".split(" ")  # noqa: SIM905 - shorter so
)
_FOLDERS: Final = ("dev", "etc", "home", "proc", "root", "sys", "tmp", "var", "var/tmp")
"""Where Apptainer mounts something; an image may lack them."""
_LINKS: Final = {
    "singularity": ".singularity.d/runscript",
    "environment": ".singularity.d/env/90-environment.sh",
    **{f".{action}": f".singularity.d/actions/{action}" for action in ("exec", "run", "shell", "test")},
}


RUNS_THE_CONFIGURATION: Final = (
    "# Runs what the image's configuration says: its entry point, with the arguments given here or else with its command."
)
"""The second line of each run script that is written here."""


class Run(msgspec.Struct, frozen=True):
    """How the image is run. Docker writes null where it means nothing."""

    entrypoint: list[str] | None = msgspec.field(default=None, name="Entrypoint")
    cmd: list[str] | None = msgspec.field(default=None, name="Cmd")
    env: list[str] | None = msgspec.field(default=None, name="Env")
    labels: dict[str, str] | None = msgspec.field(default=None, name="Labels")


class RootFs(msgspec.Struct, frozen=True):
    """The digests of the uncompressed layers, the lowest first."""

    diff_ids: list[str] = []


class _Configuration(msgspec.Struct, frozen=True):
    architecture: str = ""
    created: str | None = None
    config: msgspec.Raw = msgspec.Raw(b"null")
    rootfs: RootFs = RootFs()


class Configuration(msgspec.Struct, frozen=True):
    """An image's configuration. `created` in seconds since 1970, 0 if not told; `config` is the section `run` as JSON, keys sorted."""

    architecture: str
    created: int
    run: Run
    config: bytes
    diff_ids: tuple[Digest, ...]


def parse_configuration(data: bytes) -> Configuration:
    """Read an image's configuration. Raises InvalidManifest if it is none."""
    try:
        whole = msgspec.json.decode(data, type=_Configuration)
        run = msgspec.json.decode(whole.config, type=Run | None)
        config = msgspec.json.encode(msgspec.json.decode(whole.config) or {}, order="sorted")
    except (msgspec.MsgspecError, RecursionError) as reason:
        raise InvalidManifest(f"The image's configuration cannot be read: {reason}.") from reason
    diff_ids = tuple(Digest.parse(text) for text in whole.rootfs.diff_ids)
    return Configuration(whole.architecture, _seconds(whole.created), run or Run(), config, diff_ids)


def _seconds(created: str | None) -> int:
    """RFC 3339, section 5.6. Years that no file system can tell count as not told."""
    try:
        found = datetime.fromisoformat(created or "")
    except ValueError:
        return 0
    aware = found if found.tzinfo else found.replace(tzinfo=UTC)
    return min(max(int(aware.timestamp()), 0), 0xFFFFFFFF)


class Told(msgspec.Struct, frozen=True):
    """What Apptainer is told of an image: by files in it (`files`, path → content) and by objects of the container beside the root."""

    definition: str
    files: Mapping[str, str]
    inspection: bytes
    configuration: bytes


def tell(configuration: Configuration, source: Digest, converter: str) -> Told:
    """Everything that Apptainer is told. `source` is the image's digest, `converter` the version of who converts."""
    definition = f"bootstrap: docker\nfrom: image@{source}\n"
    labels = _labels(configuration, source, converter)
    environment = {"10-docker2singularity.sh": _environment(configuration.run.env or []), "90-environment.sh": _OWN_ENVIRONMENT}
    run_script = _run_script(configuration.run)
    start_script = "#!/bin/sh\n"
    files = {
        "Singularity": definition,
        "labels.json": json.dumps(labels, indent="\t", sort_keys=True),
        "runscript": run_script,
        "startscript": start_script,
        "env/01-base.sh": "#!/bin/sh\n",
        **{f"env/{name}": text for name, text in environment.items()},
        "env/99-base.sh": _BASE,
        "env/99-runtimevars.sh": _RUNTIME_PATHS,
        **{f"actions/{name}": _READ_ENVIRONMENT + text for name, text in _ACTIONS.items()},
    }
    attributes = {
        "deffile": definition.strip(),
        "environment": {f"/.singularity.d/env/{name}": text.strip() for name, text in environment.items()},
        "labels": labels,
        "runscript": run_script.strip(),
        "startscript": start_script.strip(),
    }
    inspection = {"data": {"attributes": attributes}, "type": "container"}
    return Told(definition, files, msgspec.json.encode(inspection, order="sorted"), configuration.config)


def _labels(configuration: Configuration, source: Digest, converter: str) -> dict[str, str]:
    """The image's labels, and those of label-schema.org that Apptainer adds to an image it builds."""
    built = datetime.fromtimestamp(configuration.created, UTC)
    when = f"{_DAYS[built.weekday()]}_{built.day}_{_MONTHS[built.month - 1]}_{built.year}_{built.hour}:{built.minute}:{built.second}_UTC"
    return {
        **(configuration.run.labels or {}),
        "org.label-schema.build-arch": configuration.architecture,
        "org.label-schema.build-date": when,
        "org.label-schema.schema-version": "1.0",
        "org.label-schema.usage.roadstead.version": converter,
        "org.label-schema.usage.singularity.deffile.bootstrap": "docker",
        "org.label-schema.usage.singularity.deffile.from": f"image@{source}",
    }


def quoted(text: str) -> str:
    """One word of a shell script that means exactly this."""
    return "'" + text.replace("'", "'\"'\"'") + "'"


def _environment(variables: list[str]) -> str:
    """A script that sets the image's variables, but leaves those of the user alone; PATH is always the image's. Odd names are left out."""
    lines = ["#!/bin/sh"]
    for variable in variables:
        name, equals, value = variable.partition("=")
        if not _VARIABLE.fullmatch(name):
            continue
        if name == "PATH":
            lines.append(f"PATH={quoted(value)}")
        elif equals:
            lines.append(f'[ -n "${{{name}:-}}" ] || {name}={quoted(value)}')
        lines.append(f'export {name}="${{{name}:-}}"')
    return "\n".join(lines) + "\n"


def _run_script(run: Run) -> str:
    """A script that runs the entry point with the arguments given or else the command."""
    entry, command = (" ".join(map(quoted, words or [])) for words in (run.entrypoint, run.cmd))
    return f"""#!/bin/sh
{RUNS_THE_CONFIGURATION}
if [ $# -eq 0 ]; then
    set -- {command}
elif [ -z "${{SINGULARITY_NO_EVAL:-}}" ]; then
    # Arguments are read by the shell once more, as in every image that Apptainer makes of Docker's, unless --no-eval is given.
    words=
    for word in "$@"; do
        words="$words \\"$word\\""
    done
    eval "set -- $words"
fi
set -- {entry} "$@"
exec "$@"
"""


_OWN_ENVIRONMENT: Final = (
    "#!/bin/sh\n# What a definition file's %environment would say. This image was made of one for Docker and has none.\n"
)
_BASE: Final = """#!/bin/sh
# Libraries that are bound in from outside, such as those of a GPU, are searched last.
LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}/.singularity.d/libs"
PS1="${PS1:-Apptainer> }"
export LD_LIBRARY_PATH PS1
"""
_RUNTIME_PATHS: Final = """#!/bin/sh
# What the user asked to put before, behind or in place of the image's PATH.
PATH="${SING_USER_DEFINED_PREPEND_PATH:+$SING_USER_DEFINED_PREPEND_PATH:}$PATH"
PATH="$PATH${SING_USER_DEFINED_APPEND_PATH:+:$SING_USER_DEFINED_APPEND_PATH}"
PATH="${SING_USER_DEFINED_PATH:-$PATH}"
unset SING_USER_DEFINED_PREPEND_PATH SING_USER_DEFINED_APPEND_PATH SING_USER_DEFINED_PATH
export PATH
"""
_READ_ENVIRONMENT: Final = """#!/bin/sh
for script in /.singularity.d/env/*.sh; do
    [ ! -f "$script" ] || . "$script"
done
"""
_ACTIONS: Final = {
    "exec": 'exec "$@"\n',
    "run": 'exec /.singularity.d/runscript "$@"\n',
    "shell": '[ -x /bin/bash ] && exec /bin/bash --norc "$@"\nexec /bin/sh "$@"\n',
    "start": "kill -CONT 1 # Tells the process that waits for it that the instance is set up.\nexec /.singularity.d/startscript\n",
    "test": '[ -x /.singularity.d/test ] && exec /.singularity.d/test "$@"\nexec true\n',
}


def added_layer(told: Told, tree: Tree, made: int) -> Layer:
    """The files as one more layer upon a tree: nothing that the image has under one of their names survives, but for folders and odd links.

    /etc/hosts and /etc/resolv.conf become empty files, because Apptainer mounts the machine's own over them.
    """
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as archive:

        def add(name: str, kind: bytes, mode: int, content: bytes = b"", target: str = "") -> None:
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.mtime, member.size, member.linkname = kind, mode, made, len(content), target
            archive.addfile(member, io.BytesIO(content))

        for folder in (*(name for name in _FOLDERS if not _is_there(tree, name)), *_OWN_FOLDERS):
            add(folder, tarfile.DIRTYPE, 0o755)
        for name, text in told.files.items():
            add(f".singularity.d/{name}", tarfile.REGTYPE, 0o644 if name in ("Singularity", "labels.json") else 0o755, text.encode())
        for name in ("etc/hosts", "etc/resolv.conf"):
            add(name, tarfile.REGTYPE, 0o644)
        for name, target in _LINKS.items():
            if not _is_there(tree, name) or tree.kind[tree.inode[tree.child(ROOT, name.encode())]] == _SYMLINK:
                add(name, tarfile.SYMTYPE, 0o777, target=target)
    data = output.getvalue()
    return Layer(lambda: [data])


_OWN_FOLDERS: Final = tuple(f".singularity.d{name}" for name in ("", "/actions", "/env", "/libs"))
_SYMLINK: Final = 2


def _is_there(tree: Tree, path: str) -> bool:
    """Whether there is anything under this path."""
    folder, _, name = path.rpartition("/")
    directory = tree.directory(folder.encode(), make=False)
    return directory != NONE and tree.child(directory, name.encode()) != NONE
