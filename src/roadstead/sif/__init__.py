"""The Singularity image format: its container, and the conversion of an OCI image into one.

    format         the container, read and written
    streams, tar   a layer, decompressed and parsed as it comes
    tree, layers   the layers of an image merged into one tree of files
    tables, compression, squashfs   the file system that holds the tree
    configuration, convert          the whole: an image in, a SIF out

These know neither network nor database, and import nothing of this project but `errors` and `oci`, because a conversion runs in a process
of its own.

    facts, gate    what a SIF says of itself, read before a manifest that names it is recorded
"""

from __future__ import annotations
