"""Who has signed a SIF or an image, and whether that holds. Beyond Harbor."""

from __future__ import annotations

from roadstead.apis.harbor.call import Calling
from roadstead.apis.harbor.repositories import PATH, full_name
from roadstead.apis.harbor.wire import Answer, Moment, Nouns, RepositoryPath, Segment
from roadstead.oci.reference import parse_reference
from roadstead.sif.signed import ShownSignature

router = Nouns(tags=["artifacts"])


class Signature(Answer):
    """A signature inside a SIF (`kind` is `pgp` or `dsse`), or beside an artifact (`cosign` or `notation`), in the manifest `manifest`.

    `state` is `valid`, `altered` (it signs something else, or is damaged), `invalid` (not made by the key that it names), `unknown-key`,
    `revoked-key`, `expired-key`, `expired` or `unsupported`; `reason` says why it is not valid. `owner` is the account that pushed the
    key, `name` what the project calls a key that it trusts.
    """

    state: str
    kind: str | None
    fingerprint: str | None
    owner: str | None
    user_ids: list[str]
    name: str | None
    manifest: str | None
    signed_at: Moment | None
    reason: str | None


@router.get(f"{PATH}/artifacts/{{reference}}/signatures")
async def list_signatures(call: Calling, project: Segment, repository: RepositoryPath, reference: Segment) -> list[Signature]:
    """The signatures of an artifact, verified now with the keys of this registry and those that the project trusts."""
    rows = await call.signatures.all(call.actor, full_name(project, repository), parse_reference(reference))
    return [_written(row) for row in rows]


def _written(row: ShownSignature) -> Signature:
    return Signature(
        state=row.state,
        kind=row.kind,
        fingerprint=row.fingerprint,
        owner=row.owner,
        user_ids=list(row.user_ids),
        name=row.name,
        manifest=None if row.manifest is None else str(row.manifest),
        signed_at=row.signed_at,
        reason=row.reason,
    )
