"""Which clients can do nothing with a SIF but run it as an image, told by what they say of themselves (RFC 9110, 10.1.5).

    begins with     who that is                                          is given an image
    docker/         the Docker daemon, with either of its image stores   yes
    containerd/     containerd by itself, as under Kubernetes            yes
    cri-o/          CRI-O                                                yes
    anything else   podman, whose `artifact pull` says the same as its   no: what was pushed
                    `pull`; skopeo, crane, oras, cosign; Apptainer

Only what says its name is given something else than what was pushed: whoever copies must get what there is.
"""

from __future__ import annotations

from typing import Final

RUNS_IMAGES: Final = (b"docker/", b"containerd/", b"cri-o/")
"""How the User-Agent of such a client begins, in lower case."""


def runs_images(agent: str | None) -> bool:
    """Whether the client that says this of itself only runs images."""
    return agent is not None and agent.lower().encode().startswith(RUNS_IMAGES)
