"""An SQLite file that one process writes while others read it.

A rollback journal and not a write-ahead log, which does not work in network folders. What is committed is on the disk.
"""

import contextlib
import fcntl
import json
import os
import socket
import sqlite3
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pnas import UsageError
from pnas.store.atomic import set_aside, write_atomically

APPLICATION = int.from_bytes(b"PNAS")  # marks our files in their headers
SCHEMA = 1  # number of the schema, to be raised when a table changes
LOCK_BYTE = 0x40000000 + 4096  # beyond the bytes that SQLite locks
WAIT = 60  # seconds for a reader to end, or a commit
FACTS = "CREATE TABLE facts (name TEXT, number INTEGER, value TEXT NOT NULL, PRIMARY KEY (name, number))"
DISK_ERRORS = {
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN),
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PERM),
}


class Database:
    """Tables, and facts: values in JSON types, each with a name and a number.

    Args:
        path: of the file, or None for one in memory.
        tables: SQL that creates the tables.
        remedy: what to do about a file that cannot be used, for messages.
        is_reader: only reads, and takes no lock.
        move: function that is called when no other process writes, before the file is opened. It may move it away.
    Raises:
        UsageError: another process writes it; it is damaged, or no such file.
        OSError: it cannot be read or written.
    """

    def __init__(
        self,
        path: Path | None,
        tables: str,
        remedy: str = "",
        is_reader: bool = False,
        move: Callable[[], None] | None = None,
    ):
        self.path, self.remedy, self._connection, self._lock = path, remedy, None, None
        if path and not is_reader:
            self._lock = _locked(path)
            if move:
                move()
                if not path.exists():
                    moved, self._lock = self._lock, _locked(path)
                    moved.close()
        try:
            with self.errors():
                self._connect(f"{FACTS}; {tables}", is_reader)
        except BaseException:
            self.close()
            raise
        if self._lock:
            self.put("holder", f"process {os.getpid()} on {socket.gethostname()}")

    def _connect(self, tables, is_reader):
        # A reader may have to undo what a killed writer has left half-written, so its file is not opened read-only.
        where = f"{self.path.absolute().as_uri()}?mode=rw" if self.path else ":memory:"
        self._connection = sqlite3.connect(where, uri=True, timeout=WAIT)
        pragmas = ("application_id", "user_version", "page_count")
        application, schema, pages = (self._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas)
        if is_reader:
            self._connection.execute("PRAGMA query_only = ON")
        else:
            self._connection.execute("PRAGMA journal_mode = DELETE")
            self._connection.execute("PRAGMA synchronous = EXTRA")
        if not pages and not is_reader:
            ours = f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {SCHEMA}"
            self._connection.executescript(f"BEGIN; {tables}; {ours}; COMMIT")
        elif application != APPLICATION:
            raise UsageError(f"{self.path} is not a database of this program. Move it away, or {self.remedy}")
        elif schema != SCHEMA:
            raise UsageError(
                f"{self.path} has schema {schema}, and this version of the program reads schema {SCHEMA}. Use the "
                f"version that wrote it, or {self.remedy}"
            )
        else:
            found = self._connection.execute("PRAGMA integrity_check").fetchone()[0]
            if found != "ok":
                raise self.damaged(found)

    def close(self):
        """Closes the file and lets other processes write it."""
        # The lock comes last: closing its descriptor would end SQLite's locks of this process.
        for resource in (self._connection, self._lock):
            if resource:
                resource.close()

    def __del__(self):
        self.close()

    def damaged(self, reason: Any) -> UsageError:
        """The error that says that the file is damaged, and what to do."""
        return UsageError(
            f"{self.path} is damaged ({' '.join(str(reason).split())[:200]}). Put a copy of it back, or {self.remedy}"
        )

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Raises SQLite's errors as one line: OSError of the disk, UsageError of damage. Others are bugs."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if isinstance(error, (sqlite3.IntegrityError, sqlite3.ProgrammingError)):
                raise
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in DISK_ERRORS:
                raise OSError(f"{self.path}: {error}") from None
            raise self.damaged(error) from None

    def read(self, sql: str, *values: Any) -> list[tuple]:
        """All rows of a SELECT."""
        with self.errors():
            return self._connection.execute(sql, values).fetchall()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commits at its end what is done to the connection, or nothing of it."""
        with self.errors(), self._connection:
            yield self._connection

    def get(self, name: str, number: int = 0) -> Any:
        """A fact, or None."""
        return self.numbered(name).get(number)

    def numbered(self, name: str) -> dict[int, Any]:
        """All facts of a name, by number."""
        rows = self.read("SELECT number, value FROM facts WHERE name = ? ORDER BY number", name)
        try:
            return {number: json.loads(value) for number, value in rows}
        except (TypeError, ValueError) as error:
            raise self.damaged(f"{name}: {error}") from None

    def put(self, name: str, value: Any, number: int = 0):
        """Keeps a fact; it replaces an earlier one."""
        with self.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", (name, number, json.dumps(value)))

    def write_files(self, contents: dict[Path, bytes]):
        """Writes files that are derived from the database. One that somebody has edited is kept under a dated name.

        The checksums of a file's old and new content are kept before it is written, so that a run that is killed in
        between does not take its own file for an edited one.

        Args:
            contents: path -> new content. Files that have it already are not touched.
        """
        checksums = self.get("files") or {}
        changed = {}
        for path, content in contents.items():
            old, new = path.read_bytes() if path.exists() else None, zlib.crc32(content)
            if old is not None and old != content and zlib.crc32(old) not in checksums.get(str(path), []):
                (kept,), old = set_aside(path), None
                warnings.warn(f"{path} was edited. It is written anew; as it was, it is kept as {kept}", stacklevel=2)
            if old != content or new not in checksums.get(str(path), []):
                checksums[str(path)] = [new] if old is None else [zlib.crc32(old), new]
                changed[path] = content
        if changed:
            self.put("files", checksums)
        for path, content in changed.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)


def _locked(path):
    """The open file, locked against other writers until it is closed. The kernel does so when this process dies."""
    file = path.open("ab")
    try:
        if hasattr(fcntl, "F_OFD_SETLK"):  # it does not end when SQLite closes the file elsewhere in this process
            region = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, LOCK_BYTE, 1, 0)
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, region)
        else:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, LOCK_BYTE)
        is_ours = path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())  # and was not moved away
    except (BlockingIOError, PermissionError):
        is_ours = False
    except OSError as error:
        is_ours = True
        warnings.warn(f"{path} cannot be locked ({error}); make sure that no other run writes it", stacklevel=2)
    if not is_ours:
        file.close()
        raise UsageError(
            f"another run has this EXPERIMENT_NAME: {_holder(path)} writes {path}. Wait for it, stop it, or choose "
            "another name"
        )
    return file


def _holder(path):
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=1)) as connection:
            return json.loads(connection.execute("SELECT value FROM facts WHERE name = 'holder'").fetchone()[0])
    except (sqlite3.Error, TypeError, ValueError):
        return "another process"
