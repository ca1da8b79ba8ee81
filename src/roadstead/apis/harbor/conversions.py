"""What is made of an artifact: SIFs of images, images of SIFs. Beyond Harbor."""

from __future__ import annotations

from typing import Final

from roadstead.apis.harbor.call import Calling
from roadstead.apis.harbor.repositories import PATH, full_name
from roadstead.apis.harbor.wire import Answer, Nouns, RepositoryPath, Segment
from roadstead.oci.reference import parse_reference
from roadstead.sif.shown import ShownConversion

router = Nouns(tags=["artifacts"])

_CONVERSIONS: Final = f"{PATH}/artifacts/{{reference}}/conversions"


class Conversion(Answer):
    """An image in another form.

    `form` is `sif` or `oci`; `platform` is what an index says of it; `state` is `converted`, `evicted` (made again when it is asked for),
    `none`, or that of the job that makes it: `waiting`, `running`, `failed`, `cancelled`. `size` is in bytes, `progress` from 0 to 1.
    """

    form: str
    platform: str | None
    source_digest: str
    state: str
    digest: str | None
    size: int | None
    job_id: int | None
    progress: float | None
    doing: str | None
    reason: str | None


@router.get(_CONVERSIONS)
async def list_conversions(call: Calling, project: Segment, repository: RepositoryPath, reference: Segment) -> list[Conversion]:
    """How it stands with the conversions of an artifact: of an index, with those for the project's platforms."""
    rows = await call.conversions.all(call.actor, full_name(project, repository), parse_reference(reference))
    return [_written(row) for row in rows]


@router.post(_CONVERSIONS, status_code=202)
async def start_conversions(call: Calling, project: Segment, repository: RepositoryPath, reference: Segment) -> list[Conversion]:
    """Begin the conversions of an artifact that are not made yet, also those that failed."""
    rows = await call.conversions.start(call.actor, full_name(project, repository), parse_reference(reference))
    return [_written(row) for row in rows]


def _written(row: ShownConversion) -> Conversion:
    return Conversion(
        form=row.form,
        platform=row.platform,
        source_digest=row.source,
        state=row.state,
        digest=row.digest,
        size=row.size,
        job_id=row.job,
        progress=row.progress,
        doing=row.doing,
        reason=row.reason,
    )
