"""The room as one value, wired together: what `app` plugs into the registry, and what it gives to doors and job workers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from roadstead.access.clock import Clock
from roadstead.content.store import ContentStore
from roadstead.jobs.queue import Queue
from roadstead.jobs.running import Kind
from roadstead.metadata.database import Database
from roadstead.oci.digest import Digest
from roadstead.registry.registry import Registry
from roadstead.registry.seams import Seams
from roadstead.sif.conversions import Conversions, Patience
from roadstead.sif.convert import Conversion
from roadstead.sif.forms import Form
from roadstead.sif.makers import Maker, OciMaker, SifMaker, Stock
from roadstead.sif.on_push import OnPush
from roadstead.sif.orders import Means
from roadstead.sif.remade import Remade
from roadstead.sif.shown import ShownConversions
from roadstead.sif.surveys import SurveyOnPush, Surveys
from roadstead.sif.to_oci import Layering
from roadstead.sif.virtual import VirtualTags
from roadstead.sif.work import Examine, Workshop


class SifRoom:
    """Conversions over `plain`: the registry with nothing plugged in, so that nothing is converted to be converted."""

    def __init__(
        self,
        database: Database,
        plain: Registry,
        queue: Queue,
        makers: dict[Form, Maker],
        clock: Clock,
        patience: Patience | None = None,
        surveys: Surveys | None = None,
    ) -> None:
        self._database = database
        self._plain = plain
        self._makers = makers
        self._surveys = surveys
        self.conversions = Conversions(database, queue, plain.derived, makers, clock, patience)
        self.virtual = VirtualTags(database, plain.derived, self.conversions)
        self.remade = Remade(database, plain.derived, plain.blobs, self.conversions)
        self.shown = ShownConversions(database, plain.repositories, plain.derived, self.conversions, self.virtual, clock)

    def seams(self) -> Seams:
        """What goes into the registry that users see."""
        converts = OnPush(self.conversions)
        follower = converts if self._surveys is None else SurveyOnPush(self._surveys, converts)
        return Seams(missing_content=self.remade, resolver=self.virtual, push_follower=follower)

    def makes(self, source: Digest, conversion: str) -> bool:
        """Whether this installation, as it is set up now, would make of that source by that conversion what was made before."""
        return any(maker.identity(source) == conversion for maker in self._makers.values())

    def kind(self, at_once: int, made: Callable[[], Awaitable[object]], examine: Examine | None = None) -> Kind:
        """The kind of job that converts, so many of them at once; `made` is called when one has taken new room in the store.

        What was made is shown to `examine`.
        """
        return Workshop(self._database, self._plain.derived, self._makers, made, examine).kind(at_once)


def makers(database: Database, store: ContentStore, how: Conversion, means: Means) -> dict[Form, Maker]:
    """Who makes each form, in processes of their own."""
    stock = Stock(database, store)
    return {Form.SIF: SifMaker(stock, how, means), Form.OCI: OciMaker(stock, Layering(limits=how.limits), means)}
