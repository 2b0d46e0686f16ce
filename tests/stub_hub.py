"""A hub on this machine's own address: what huggingface_hub asks for, out of a dict."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlparse

__all__ = ["StubHub"]


class StubHub:
    """Repositories by name, each a row of commits: path to content.

    Attributes:
        repositories: Name to its commits, the last one the newest.
        private: Name to whether it was made so.
        messages: Subject of each commit that was pushed.
        tokens: ``Authorization`` of each request.
        asked: Paths of files whose content was asked for.
        refuses: Status that every upload gets, or None.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, list[dict[str, bytes]]] = {}
        self.private: dict[str, bool] = {}
        self.messages: list[str] = []
        self.tokens: set[str | None] = set()
        self.asked: list[str] = []
        self.refuses: int | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        listen = partial(self._server.serve_forever, poll_interval=0.01)
        self._thread = threading.Thread(target=listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Nobody can reach it from now on."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def commit_of(self, name: str, number: int = -1) -> str:
        """The checksum that a commit goes by."""
        commits = self.repositories[name]
        return hashlib.sha1(f"{name}{number % len(commits)}".encode()).hexdigest()

    def found(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """A commit's checksum and files."""
        for number, files in enumerate(self.repositories[name]):
            checksum = self.commit_of(name, number)
            is_newest = number == len(self.repositories[name]) - 1
            if revision in (checksum, f"v{number}") or (revision == "main" and is_newest):
                return checksum, files
        return None


def _handler(hub: StubHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer_get(with_body=False)

        def do_GET(self) -> None:
            self._answer_get(with_body=True)

        def do_POST(self) -> None:
            hub.tokens.add(self.headers.get("Authorization"))
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            words = unquote(urlparse(self.path).path).strip("/").split("/")
            if words == ["api", "validate-yaml"]:
                return self._json({"errors": [], "warnings": []})
            if hub.refuses is not None:
                return self._json({"error": "refused"}, hub.refuses)
            if words == ["api", "repos", "create"]:
                asked = json.loads(content)
                name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
                there = name in hub.repositories
                if not there:
                    hidden = asked.get("private", asked.get("visibility") == "private")
                    hub.repositories[name], hub.private[name] = [{}], hidden
                return self._json({"url": f"{hub.address}/{name}"}, 409 if there else 200)
            name, verb = "/".join(words[2:4]), words[4]
            if verb == "preupload":
                files = [
                    {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for file in json.loads(content)["files"]
                ]
                return self._json({"files": files})
            assert verb == "commit", self.path
            files = dict(hub.repositories[name][-1])
            for line in content.splitlines():
                entry = json.loads(line)
                if entry["key"] == "header":
                    hub.messages.append(entry["value"]["summary"])
                elif entry["key"] == "file":
                    value = entry["value"]
                    files[value["path"]] = base64.b64decode(value["content"])
                else:
                    assert entry["key"] == "deletedFile", entry
                    del files[entry["value"]["path"]]
            hub.repositories[name].append(files)
            checksum = hub.commit_of(name)
            address = f"{hub.address}/{name}/commit/{checksum}"
            return self._json({"commitOid": checksum, "commitUrl": address, "success": True})

        def _answer_get(self, with_body: bool) -> None:
            hub.tokens.add(self.headers.get("Authorization"))
            words = unquote(urlparse(self.path).path).strip("/").split("/")
            is_api = words[0] == "api"
            if words[:2] == ["api", "whoami-v2"]:
                return self._json({"name": "me", "type": "user", "orgs": []})
            name = "/".join(words[2:4] if is_api else words[:2])
            if name not in hub.repositories:
                return self._missing("RepoNotFound")
            rest = words[4:] if is_api else words[2:]
            revision = rest[1] if len(rest) > 1 else "main"
            found = hub.found(name, revision)
            if found is None:
                return self._missing("RevisionNotFound")
            checksum, files = found
            if not is_api:  # name/resolve/revision/path
                return self._file(checksum, files, "/".join(rest[2:]), with_body)
            if rest[:1] == ["tree"]:
                return self._json(
                    [
                        {"type": "file", "path": path, "size": len(data), "oid": _oid(data)}
                        for path, data in files.items()
                    ]
                )
            information = {
                "id": name,
                "sha": checksum,
                "siblings": [{"rfilename": path} for path in files],
                "tags": [],
                "private": hub.private.get(name, False),
            }
            return self._json(information)

        def _file(
            self, checksum: str, files: dict[str, bytes], path: str, with_body: bool
        ) -> None:
            if path not in files:
                return self._missing("EntryNotFound")
            if with_body:
                hub.asked.append(path)
            self.send_response(200)
            self.send_header("ETag", f'"{_oid(files[path])}"')
            self.send_header("X-Repo-Commit", checksum)
            self.send_header("Content-Length", str(len(files[path])))
            self.end_headers()
            if with_body:
                self.wfile.write(files[path])
            return None

        def _missing(self, code: str) -> None:
            self.send_response(404)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _json(self, content: Any, status: int = 200) -> None:
            text = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(text)

    return Handler


def _oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
