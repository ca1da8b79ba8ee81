"""Whose signatures a project trusts, which Harbor leaves to presence alone."""

from __future__ import annotations

from roadstead.apis.harbor.call import Calling
from roadstead.apis.harbor.wire import Answer, Body, Moment, Nouns, Segment

router = Nouns(tags=["trust"])


class TrustedKey(Answer):
    """A key that the project trusts; its fingerprint is upper-case hexadecimal."""

    kind: str
    fingerprint: str
    name: str
    added_by: str | None
    creation_time: Moment


class Trust(Answer):
    """What a project asks of signatures."""

    only_signed_sifs: bool
    only_signed_images: bool
    keys: list[TrustedKey]


class TrustChange(Body):
    """Whether only SIFs, or images, go out that a trusted key has signed. What is left out stays."""

    only_signed_sifs: bool | None = None
    only_signed_images: bool | None = None


class NewTrustedKey(Body):
    """A key of the key server, by its `fingerprint`, or `key`: a public key or certificate in PEM. `name` is what people call it."""

    fingerprint: str = ""
    key: str = ""
    name: str = ""


@router.get("/projects/{project}/trust")
async def get_trust(call: Calling, project: Segment) -> Trust:
    """Whose signatures a project trusts, and whether it gives out anything else."""
    found = await call.registry.trust.of_project(call.actor, call.project(project))
    keys = [
        TrustedKey(kind=one.kind, fingerprint=one.fingerprint, name=one.name, added_by=one.added_by, creation_time=one.added_at)
        for one in found.keys
    ]
    return Trust(only_signed_sifs=found.only_signed_sifs, only_signed_images=found.only_signed_images, keys=keys)


@router.put("/projects/{project}/trust")
async def set_trust(call: Calling, project: Segment, wanted: TrustChange) -> None:
    """Give out only SIFs, or images, that a trusted key has signed, or all."""
    asked = {"sifs": wanted.only_signed_sifs, "images": wanted.only_signed_images}
    await call.registry.trust.require(call.actor, call.project(project), **asked)


@router.post("/projects/{project}/trust/keys", status_code=201)
async def trust_key(call: Calling, project: Segment, new: NewTrustedKey) -> None:
    """Trust a key."""
    await call.registry.trust.add(call.actor, call.project(project), new.key or new.fingerprint, new.name)


@router.delete("/projects/{project}/trust/keys/{fingerprint}")
async def distrust_key(call: Calling, project: Segment, fingerprint: Segment) -> None:
    """Trust a key no more."""
    await call.registry.trust.remove(call.actor, call.project(project), fingerprint)
