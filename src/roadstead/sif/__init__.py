"""The Singularity image format: its container, the layers of an image merged into one tree, and the squashfs that holds the tree.

`format`, `tar`, `streams`, `tree`, `layers`, `tables` and `squashfs` know neither network nor database and import nothing of this
project but `errors` and `oci`, because a conversion runs them in a process of its own.
"""

from __future__ import annotations
