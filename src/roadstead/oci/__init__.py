"""What the standards define: names, digests, media types, manifests. Pure: no I/O, no clock, no async."""
