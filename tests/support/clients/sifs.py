"""SIFs of a few bytes, made without any client."""

from __future__ import annotations

import io
from uuid import UUID

from roadstead.sif.format import DataType, FileSystem, Object, Partition, PartitionType, Writer

_IDENTITY = UUID("b2659d4e-bd50-4ea5-bd17-eec5e54f918e")


def small_sif(seed: bytes, architecture: str = "amd64") -> bytes:
    """A sound SIF of one raw partition that holds `seed`; it does not run."""
    output = io.BytesIO()
    writer = Writer(output, identity=_IDENTITY, made=0)
    writer.add(Object(DataType.PARTITION, detail=Partition(FileSystem.RAW, PartitionType.PRIMARY_SYSTEM, architecture)), [seed])
    writer.finish()
    return output.getvalue()
