"""A hub of models and data sets that tests can fill, and a server in its layout on the loopback interface."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
"""Of all that the fixture ``hub`` holds."""


@dataclass
class Hub:
    """What a server offers, and how it fails.

    Attributes:
        url: of the server.
        revisions: name of a data set or model to the commits of its branches.
        files: name of a data set or model and commit to the files there.
        cut: the number of bytes after which the next transfers of a file end too early.
        wrong: whether the server sends contents that do not have the checksums it names.
        asked: methods and paths of all requests.
    """

    url: str = ""
    revisions: dict[str, dict[str, str]] = field(default_factory=dict)
    files: dict[tuple[str, str], dict[str, bytes]] = field(default_factory=dict)
    cut: list[int] = field(default_factory=list)
    wrong: bool = False
    asked: list[str] = field(default_factory=list)

    def put(self, name: str, files: dict[str, bytes], revision: str = "main") -> str:
        """Adds a commit with these files, which ``revision`` then names or is; returns it."""
        if re.fullmatch("[0-9a-f]{40}", revision):
            self.revisions.setdefault(name, {})
            self.files[name, revision] = files
            return revision
        content = "".join(f"{path} {hashlib.sha1(data).hexdigest()}\n" for path, data in sorted(files.items()))  # noqa: S324
        commit = hashlib.sha1(content.encode()).hexdigest()  # noqa: S324
        self.revisions.setdefault(name, {})[revision] = commit
        self.files[name, commit] = files
        return commit


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        path = self.asked()
        if found := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/revision/(.+)", path):
            if (commit := self.commit(*found.groups())) is not None:
                self.send_json({"id": found[1], "sha": commit, "siblings": []}, body)
        elif found := re.fullmatch(r"/api/(?:datasets|models)/([^/]+/[^/]+)/tree/([^/]+)/?", path):
            if (commit := self.commit(*found.groups())) is not None:
                self.send_json([_entry(*item) for item in self.hub.files[found[1], commit].items()], body)
        elif found := re.fullmatch(r"(?:/datasets)?/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            if (commit := self.commit(found[1], found[2])) is not None:
                self.send_file(commit, self.hub.files[found[1], commit][found[3]], body)
        else:
            self.fail("EntryNotFound")

    def do_POST(self) -> None:
        """Takes a new commit of a model, as its owner uploads it."""
        path, given = self.asked(), self.rfile.read(int(self.headers["Content-Length"]))
        if not self.headers["Authorization"]:
            self.fail("GatedRepo")
        elif path == "/api/repos/create":
            asked = json.loads(given)
            name = f"{asked['organization']}/{asked['name']}"
            self.hub.revisions.setdefault(name, {})
            self.send_json({"url": f"{self.hub.url}/{name}"}, body=True)
        elif path == "/api/validate-yaml":
            self.send_json({}, body=True)
        elif re.fullmatch(r"/api/models/[^/]+/[^/]+/preupload/main", path):
            files = [{"path": file["path"], "uploadMode": "regular"} for file in json.loads(given)["files"]]
            self.send_json({"files": [{**file, "shouldIgnore": False} for file in files]}, body=True)
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            changes = [line["value"] for line in map(json.loads, given.splitlines()) if line["key"] == "file"]
            commit = self.hub.put(found[1], {file["path"]: base64.b64decode(file["content"]) for file in changes})
            answer = {"commitOid": commit, "commitUrl": f"{self.hub.url}/{found[1]}/commit/{commit}", "success": True}
            self.send_json(answer, body=True)
        else:
            self.fail("EntryNotFound")

    def asked(self) -> str:
        """Returns the path of the request, and notes it."""
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        return path

    def commit(self, name: str, revision: str) -> str | None:
        """Returns the commit that a revision stands for; answers the request if there is none."""
        if name not in self.hub.revisions:
            self.fail("RepoNotFound")
        elif (name, commit := self.hub.revisions[name].get(revision, revision)) in self.hub.files:
            return commit
        else:
            self.fail("RevisionNotFound")
        return None

    def fail(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send_json(self, content: Any, body: bool) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def send_file(self, commit: str, data: bytes, body: bool) -> None:
        start = int(found[1]) if (found := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))) else 0
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Accept-Ranges", "bytes")
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        sent = bytes(len(data)) if self.hub.wrong else data
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if body:
            end = start + self.hub.cut.pop(0) if self.hub.cut else None
            self.wfile.write(sent[start:end])
            self.close_connection = end is not None

    def log_message(self, format: str, *arguments: object) -> None:
        """Prints nothing."""


def _entry(path: str, data: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    lfs = {"oid": digest, "size": len(data), "pointerSize": 130}
    return {"type": "file", "path": path, "size": len(data), "oid": digest[:40], "lfs": lfs}


@contextmanager
def served() -> Iterator[Hub]:
    """Serves a hub on the loopback interface while the context lasts."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
