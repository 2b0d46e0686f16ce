"""A PostgreSQL server for tests: on loopback, in a temporary folder, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["programs", "server"]


def programs() -> Path | None:
    """Folder of initdb and pg_ctl; Debian has them off the path, a folder a version."""
    found = shutil.which("pg_ctl")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((f for f in folders if (f / "initdb").exists() and (f / "pg_ctl").exists()), None)


@contextmanager
def server(folder_of_programs: Path) -> Iterator[str]:
    """The URL of a new server, without the name of a database; it trusts whoever asks."""
    user = _user()
    # pytest's own folders are closed to the user that the server needs where we are root
    with tempfile.TemporaryDirectory(prefix="gconvae-postgresql-") as place:
        if user:
            shutil.chown(place, **{name: user[name] for name in ("user", "group")})
        data, port = Path(place) / "data", _free_port()
        options = f"-h 127.0.0.1 -p {port} -k {place} -c fsync=off -c max_connections=60"

        def run(program: str, *words: str) -> None:
            command = [str(folder_of_programs / program), "-D", str(data), *words]
            # of a file: the server keeps a pipe open, and we would wait for its end
            with (Path(place) / "log").open("a+") as log:
                done = subprocess.run(
                    command, stdout=log, stderr=log, cwd=place, check=False, **user
                )
                log.seek(0)
                assert done.returncode == 0, log.read()

        run("initdb", "-A", "trust", "-U", "gconvae", "-E", "UTF8", "--locale=C", "--no-sync")
        run("pg_ctl", "start", "-w", "-o", options)
        try:
            yield f"postgresql://gconvae@127.0.0.1:{port}"
        finally:
            run("pg_ctl", "stop", "-w", "-m", "immediate")


def _user() -> dict[str, Any]:
    """Whom to run the server as: root must not."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = names.get("postgres") or names["nobody"]
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
