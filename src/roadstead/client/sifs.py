"""The SIF that a name stands for: what it is, or what the registry makes of it (`TAG.sif`)."""

from __future__ import annotations

import time
from typing import Final

from roadstead.client.locations import Location
from roadstead.client.platforms import SIF_HEAD, of_sif, pick, require, written
from roadstead.client.session import Fetched, Session
from roadstead.errors import InvalidTag, NotConvertible, NotFound, NotReady
from roadstead.oci.descriptor import Descriptor
from roadstead.oci.digest import Digest
from roadstead.oci.reference import RepositoryName, TagName
from roadstead.oci.sif_manifest import sif_layer

_PATIENCE: Final = 3600.0  # Seconds that a registry may think; it says itself when it is too long for it, and when to come again.
_LONGEST_PAUSE: Final = 60.0


def find_sif(session: Session, place: Location, platform: str | None = None) -> Descriptor:
    """The blob to fetch; returns when it is made. Raises NotConvertible if there is no SIF and none is made, and as the session does."""
    fetched = session.manifest(place.repository, place.reference)
    image = _of_platform(session, place.repository, fetched, platform)
    if layer := sif_layer(image.manifest):
        _require(session, place, layer, platform)
        return layer
    made = _of_platform(session, place.repository, _converted(session, place), platform)
    layer = sif_layer(made.manifest)
    if layer is None:
        raise _none(place)
    if made.manifest.subject is not None and made.manifest.subject.digest != image.digest:
        told = ", ".join(written(child.platform) for child in fetched.manifest.children)
        raise NotConvertible(f"{place.text} is for {told}, and the project does not convert the one that is asked for: see its settings.")
    _require(session, place, layer, platform)
    return layer


def _require(session: Session, place: Location, layer: Descriptor, platform: str | None) -> None:
    """Return if the SIF is for the platform that was asked for. Raises NotConvertible."""
    if platform:
        require(platform, of_sif(session.beginning(place.repository, layer, SIF_HEAD)), place.text)


def _of_platform(session: Session, repository: RepositoryName, fetched: Fetched, platform: str | None) -> Fetched:
    if not fetched.manifest.children:
        return fetched
    return session.manifest(repository, pick(fetched.manifest.children, platform).digest)


def _converted(session: Session, place: Location) -> Fetched:
    if isinstance(place.reference, Digest):
        raise _none(place)
    try:
        virtual = TagName.parse(f"{place.reference}.sif")
        while True:
            try:
                return session.manifest(place.repository, virtual, patience=_PATIENCE)
            except NotReady as waiting:
                time.sleep(min(_LONGEST_PAUSE, float(str(waiting.detail["retry_after"]))))
    except (NotFound, InvalidTag) as error:
        raise _none(place) from error


def _none(place: Location) -> NotConvertible:
    return NotConvertible(
        f"{place.text} is no SIF, and {place.host} makes none of it. Fetch the image as it is with --oci, "
        f"or convert it here: apptainer pull docker://{place.text}"
    )
