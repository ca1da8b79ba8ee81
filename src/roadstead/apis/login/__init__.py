"""The doors by which browsers log in and out."""

from __future__ import annotations
