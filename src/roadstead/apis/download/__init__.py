"""SIF images as files: `/sif/PROJECT/PATH/TAG.sif`, for browsers, wget, curl and whatever else takes an ordinary link."""

from __future__ import annotations
