"""`roadstead cluster`, through the real program, on a database of its own."""

from __future__ import annotations

from pathlib import Path

from tests.rooms.cli.test_administration import Site


def test_an_administrator_describes_the_clusters(tmp_path: Path) -> None:
    site = Site(tmp_path / "data")
    site.told("cluster", "set", "Merlin", "--arch", "arm64")
    more = ("--level", "4", "--glibc", "2.34", "--driver", "550.54.14", "--rocm", "6.1", "--mpi", "libmpi.so.12")
    said = {"level": 4, "glibc": "2.34", "driver": "550.54.14", "rocm": "6.1", "mpi": "libmpi.so.12"}
    assert site.told("cluster", "set", "Kestrel", *more) == {"name": "Kestrel", "architecture": "amd64", **said}
    assert [one["name"] for one in site.told("cluster", "list")] == ["Kestrel", "Merlin"]
    site.told("cluster", "set", "Kestrel", "--driver", "535.54.03")
    assert site.told("cluster", "list")[0]["level"] is None  # described anew, all of it
    assert "from 1 to 4" in site.refused("cluster", "set", "Kestrel", "--level", "5")
    assert "Merlin" in site.done("cluster", "remove", "Merlin")
    assert "no cluster 'Merlin'" in site.refused("cluster", "remove", "Merlin")
    told = [(one["actor"], one["action"], one["resource"]) for one in site.told("audit") if one["resource_type"] == "cluster"]
    acts = [("create", "Merlin"), ("create", "Kestrel"), ("update", "Kestrel"), ("delete", "Merlin")]
    assert told == [("system", *act) for act in acts]
