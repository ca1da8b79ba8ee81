"""Who has signed a SIF, and whether that holds. Beyond Harbor."""

from __future__ import annotations

from roadstead.apis.harbor.call import Calling
from roadstead.apis.harbor.repositories import PATH, full_name
from roadstead.apis.harbor.wire import Answer, Moment, Nouns, RepositoryPath, Segment
from roadstead.oci.reference import parse_reference
from roadstead.sif.signed import ShownSignature

router = Nouns(tags=["artifacts"])


class Signature(Answer):
    """A signature inside a SIF.

    `state` is `valid`, `altered` (the file is not what was signed), `invalid` (not made by the key that it names), `unknown-key`,
    `revoked-key`, `expired-key` or `unsupported`; `reason` says why it is not valid. `owner` is the account that pushed the key.
    """

    state: str
    kind: str | None
    fingerprint: str | None
    owner: str | None
    user_ids: list[str]
    signed_at: Moment | None
    reason: str | None


@router.get(f"{PATH}/artifacts/{{reference}}/signatures")
async def list_signatures(call: Calling, project: Segment, repository: RepositoryPath, reference: Segment) -> list[Signature]:
    """The signatures inside an artifact's SIF, verified now with the keys of this registry."""
    rows = await call.signatures.all(call.actor, full_name(project, repository), parse_reference(reference))
    return [_written(row) for row in rows]


def _written(row: ShownSignature) -> Signature:
    return Signature(
        state=row.state,
        kind=row.kind,
        fingerprint=row.fingerprint,
        owner=row.owner,
        user_ids=list(row.user_ids),
        signed_at=row.signed_at,
        reason=row.reason,
    )
