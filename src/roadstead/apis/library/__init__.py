"""The library API, as `library://` speaks it: images by names of three parts, architecture and hash."""

from __future__ import annotations
