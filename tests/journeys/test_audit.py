"""What an administrator reads in the audit log after a day at a registry, on its own database and in the file that it is exported to."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2

from tests.journeys.test_who_may import GOOD, tell
from tests.support.clients.images import image, push
from tests.support.server import RoadsteadServer, poll

REPOSITORY = "library/audited"


def test_a_day_in_the_log(tmp_path: Path) -> None:
    exported = tmp_path / "audit.jsonl"
    settings = {"ROADSTEAD_AUDIT_EXPORT": f"file://{exported}"}
    with RoadsteadServer(tmp_path / "data", settings, ["--workers", "2"]) as server:
        tell(server, "user", "add", "grace", said=GOOD + "\n")

        def client(*auth: str) -> httpx2.Client:
            found = (auth[0], auth[1]) if auth else None
            return httpx2.Client(base_url=server.url, auth=found, timeout=30, trust_env=False)

        with client("admin", server.admin_password) as admin:
            push(admin, REPOSITORY, "latest", image("audited"))
        with client() as anonymous:
            for _ in range(3):
                assert anonymous.get(f"/v2/{REPOSITORY}/manifests/latest").status_code == 200
        with client("grace", "wrong password") as wrong:
            for _ in range(4):
                assert wrong.get("/service/token").status_code in (401, 429)
        with client("grace", GOOD) as grace:
            assert grace.post(f"/v2/{REPOSITORY}/blobs/uploads/").status_code == 403
        server.stop()  # what was gathered in memory is written
        rows = tell(server, "audit", "--limit", "1000")
        found = {(row["actor"], row["address"], row["action"], row["resource"], row["result"]) for row in rows}
        assert found >= {
            ("system", "", "create", "library", "success"),
            ("system", "", "create", "grace", "success"),
            ("admin", "127.0.0.1", "login", "admin", "success"),
            ("admin", "127.0.0.1", "create", f"{REPOSITORY}:latest", "success"),
            ("anonymous", "127.0.0.1", "pull", f"{REPOSITORY}:latest", "success"),
            ("grace", "127.0.0.1", "login", "grace", "failed"),
            ("grace", "127.0.0.1", "push", REPOSITORY, "denied"),
        }
        assert sum(row["amount"] for row in rows if row["action"] == "pull") == 3
        assert sum(row["amount"] for row in rows if row["result"] == "failed") == 4
        server.start()
        assert poll(lambda: len(exported.read_text().splitlines()) >= len(rows))
    lines = {line["id"]: line for line in map(json.loads, exported.read_text().splitlines())}
    assert [lines[row["id"]] for row in rows] == rows
