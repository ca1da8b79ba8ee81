"""The configuration of an OCI image, made of what a SIF says of itself.

Apptainer keeps how an image is run as files in it ("Environment and Metadata" of its user guide): a run script, scripts of environment
variables, labels. Where they were made of an image's configuration, by Apptainer or here, that configuration lies in the SIF too, and is
given back as it was. Where somebody wrote them, the entry point is the script in the image by which Apptainer runs it: it reads the
environment, then runs the run script. So `docker run` does what `apptainer run` does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from roadstead.oci.digest import Digest
from roadstead.sif.configuration import RUNS_THE_CONFIGURATION
from roadstead.sif.variables import assigned, is_empty

METADATA: Final = ".singularity.d"
RUN_SCRIPT: Final = f"{METADATA}/runscript"
LABELS: Final = f"{METADATA}/labels.json"
ACTION: Final = f"{METADATA}/actions/run"
ENVIRONMENT: Final = f"{METADATA}/env"
_OF_APPTAINER: Final = frozenset({"01-base.sh", "94-appsbase.sh", "95-apps.sh", "99-base.sh", "99-runtimevars.sh"})
"""Scripts that are the same in every image."""
_OF_CONFIGURATION: Final = "10-docker2singularity.sh"
_MADE_OF_CONFIGURATION: Final = re.compile(rf"^(?:OCI_ENTRYPOINT=|OCI_CMD=|{re.escape(RUNS_THE_CONFIGURATION)}$)", re.MULTILINE)
"""A line of the run scripts that Apptainer makes of an image's configuration, and of those that are made here."""
_BUILT: Final = "org.label-schema."


class Said(msgspec.Struct, frozen=True):
    """What a SIF says of running it; empty where it says nothing.

    `files` has the small files of `.singularity.d` by their path, `environment` the names of its scripts in the order in which they are
    read, `configuration` the section `config` of the image that it was made of, as JSON. `created` in seconds since 1970.
    """

    architecture: str
    created: int
    files: Mapping[str, str] = {}
    environment: tuple[str, ...] = ()
    configuration: bytes = b""


class _Config(msgspec.Struct, frozen=True, omit_defaults=True):
    """The section `config` as image-spec v1.1, config.md, has it, and Docker's additions that are lists or texts."""

    User: str | None = None
    ExposedPorts: dict[str, dict[str, Any]] | None = None
    Env: list[str] | None = None
    Entrypoint: list[str] | None = None
    Cmd: list[str] | None = None
    Volumes: dict[str, dict[str, Any]] | None = None
    WorkingDir: str | None = None
    Labels: dict[str, str] | None = None
    StopSignal: str | None = None
    ArgsEscaped: bool | None = None
    Shell: list[str] | None = None
    OnBuild: list[str] | None = None


def configuration(said: Said, diff_id: Digest, made_by: str) -> bytes:
    """The image's configuration as JSON. `diff_id` is the digest of its layer's uncompressed content."""
    created = datetime.fromtimestamp(said.created, UTC).isoformat().replace("+00:00", "Z")
    whole = {
        "architecture": said.architecture,
        "config": _config(said),
        "created": created,
        "history": [{"created": created, "created_by": made_by}],
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [str(diff_id)]},
    }
    return msgspec.json.encode(whole, order="sorted")


def _config(said: Said) -> dict[str, Any]:
    source = _source(said.configuration)
    labels = _labels(said.files.get(LABELS, ""))
    if source is not None and _is_as_configured(said):
        added = {name: value for name, value in labels.items() if not name.startswith(_BUILT)}
        return source | ({"Labels": added | (source.get("Labels") or {})} if added else {})
    kept = {key: value for key, value in (source or {}).items() if key in ("User", "ExposedPorts", "Volumes", "WorkingDir", "StopSignal")}
    found: dict[str, Any] = {**kept, **_run(said), "Env": _environment(said, source or {})}
    return found | ({"Labels": labels} if labels else {})


def _source(text: bytes) -> dict[str, Any] | None:
    """The configuration that a SIF carries, if it is one."""
    try:
        msgspec.json.decode(text, type=_Config)
        found: dict[str, Any] = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    return found


def _is_as_configured(said: Said) -> bool:
    """Whether nobody wrote a run script or environment of their own over those of the configuration."""
    own = [name for name in said.environment if name not in _OF_APPTAINER and name != _OF_CONFIGURATION]
    scripts = (said.files.get(f"{ENVIRONMENT}/{name}", "") for name in own)
    return all(map(is_empty, scripts)) and _MADE_OF_CONFIGURATION.search(said.files.get(RUN_SCRIPT, "")) is not None


def _run(said: Said) -> dict[str, Any]:
    for script in (ACTION, RUN_SCRIPT):
        if script in said.files:
            return {"Entrypoint": [f"/{script}"]}
    return {"Cmd": ["/bin/sh"]}


def _environment(said: Said, source: Mapping[str, Any]) -> list[str]:
    """For those who run something else than the entry point: what the scripts set, as far as that can be told."""
    found = dict(variable.split("=", 1) for variable in source.get("Env") or [] if "=" in variable)
    for name in said.environment:
        if name not in _OF_APPTAINER:
            found = assigned(said.files.get(f"{ENVIRONMENT}/{name}", ""), found)
    return [f"{name}={value}" for name, value in found.items()]


def _labels(text: str) -> dict[str, str]:
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return {}
