"""An SQLite file that one process writes while others read it.

It has a rollback journal, as a write-ahead log does not work in network folders.
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from pnas import UsageError
from pnas.store.atomic import set_aside, write_atomically

APPLICATION = int.from_bytes(b"PNAS")  # marks our files in their headers
SCHEMA = 3  # number of the schema, to be raised when a table changes
LOCK_BYTE = 0x40000000 + 4096  # beyond the bytes that SQLite locks
WAIT = 60  # seconds for another process to end its reading or its commit
FACTS = "CREATE TABLE facts (name TEXT, number INTEGER, value TEXT, PRIMARY KEY (name, number))"
OF_THE_DISK = {
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN),
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PERM),
}


class Database:
    """Tables, and facts: values in JSON types, each with a name and a number. What was written is on the disk.

    Args:
        path: of the file, or None for one in memory.
        tables: SQL that creates the tables besides that of facts.
        lock: of `lock`, which this Database then closes; None only reads.
        remedy: what to do about a file that cannot be used, for messages.
    Raises:
        UsageError: it is damaged, or no such file.
        OSError: it cannot be read or written.
    """

    def __init__(self, path: Path | None, tables: str = "", lock: BinaryIO | None = None, remedy: str = "move it away"):
        self.path, self._remedy, self._lock = path, remedy, lock
        # A reader may have to undo what a killed writer has left half-written, so its file is not opened read-only.
        where = f"{path.absolute().as_uri()}?mode=rw" if path else ":memory:"
        try:
            with self._errors():
                self._connection = sqlite3.connect(where, uri=True, timeout=WAIT)
                self._open(tables)
        except BaseException:
            self.close()
            raise
        if lock:
            self.put("holder", f"process {os.getpid()} on {socket.gethostname()}")
        elif path:
            self._connection.execute("PRAGMA query_only = ON")

    def _open(self, tables):
        """Creates the tables, or checks that the file has them."""
        pragmas = ("application_id", "user_version", "page_count")
        application, schema, pages = (self.read(f"PRAGMA {name}")[0][0] for name in pragmas)
        self._connection.executescript("PRAGMA journal_mode = DELETE; PRAGMA synchronous = EXTRA")
        if pages == 0:
            ours = f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {SCHEMA}"
            self._connection.executescript(f"BEGIN; {FACTS}; {tables}; {ours}; COMMIT")
        elif application != APPLICATION:
            raise UsageError(f"{self.path} is not a database of this program. Move it away, or {self._remedy}")
        elif schema != SCHEMA:
            raise UsageError(
                f"{self.path} has schema {schema}, and this version of the program reads schema {SCHEMA}. Use the "
                f"version that wrote it, or {self._remedy}"
            )
        elif (found := self.read("PRAGMA integrity_check")[0][0]) != "ok":
            raise self.damaged(found)

    def close(self):
        """Closes the file and lets other processes write it."""
        # The lock comes last: closing its descriptor would end SQLite's own locks.
        for each in (getattr(self, "_connection", None), getattr(self, "_lock", None)):
            if each:
                each.close()

    __del__ = close

    def damaged(self, reason: Any) -> UsageError:
        """The error that says that the file is damaged, and what to do."""
        return UsageError(
            f"{self.path} is damaged ({' '.join(str(reason).split())[:200]}). Put a copy of it back, or {self._remedy}"
        )

    @contextlib.contextmanager
    def _errors(self):
        """Makes errors of the disk OSErrors, and damage a UsageError. Other errors are bugs."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if isinstance(error, (sqlite3.IntegrityError, sqlite3.ProgrammingError)):
                raise
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in OF_THE_DISK:
                raise OSError(f"{self.path}: {error}") from None
            raise self.damaged(error) from None

    def read(self, sql: str, *values: Any) -> list[tuple]:
        """All rows of a SELECT."""
        with self._errors():
            return self._connection.execute(sql, values).fetchall()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commits at its end what is done to the connection, or nothing of it."""
        with self._errors(), self._connection:
            yield self._connection

    def get(self, name: str, number: int = 0) -> Any:
        """A fact, or None."""
        return self.numbered(name).get(number)

    def numbered(self, name: str) -> dict[int, Any]:
        """All facts of a name, by number."""
        rows = self.read("SELECT number, value FROM facts WHERE name = ? ORDER BY number", name)
        try:
            return {number: json.loads(value) for number, value in rows}
        except (TypeError, ValueError, RecursionError) as error:
            raise self.damaged(f"{name}: {error}") from None

    def put(self, name: str, value: Any, number: int = 0):
        """Keeps a fact; it replaces an earlier one."""
        with self.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", (name, number, json.dumps(value)))

    def write_files(self, contents: dict[Path, bytes]):
        """Writes files that are derived from the database. One that somebody has edited is kept under a dated name.

        Before a file is written, the checksums of its old and its new content are kept, so that a file is still known
        if the run is killed in between. Files that have their content already are not touched.
        """
        checksums, changed = self.get("files") or {}, {}
        for path, content in contents.items():
            known = checksums.get(str(path), [])
            old = zlib.crc32(path.read_bytes()) if path.exists() else None
            if old == zlib.crc32(content):
                continue
            if old is not None and old not in known:
                (kept,) = set_aside(path)
                warnings.warn(f"{path} was edited. It is written anew; as it was, it is kept as {kept}", stacklevel=3)
            checksums[str(path)] = [old, zlib.crc32(content)]
            changed[path] = content
        if changed:
            self.put("files", checksums)
        for path, content in changed.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)


def lock(path: Path) -> BinaryIO:
    """Creates a file that is missing and keeps other writers out until what is returned is closed.

    The kernel holds the lock and releases it when the process dies.

    Raises:
        UsageError: another process holds it.
        OSError: the file cannot be written.
    """
    file = path.open("ab")
    try:
        if hasattr(fcntl, "F_OFD_SETLK"):  # the lock stays when SQLite closes the file elsewhere in this process
            region = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, LOCK_BYTE, 1, 0)
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, region)
        else:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, LOCK_BYTE)
        if os.path.samestat(os.fstat(file.fileno()), path.stat()):  # else its holder has just moved it aside
            return file
    except (BlockingIOError, PermissionError, FileNotFoundError):
        pass
    except OSError as error:
        warnings.warn(f"{path} cannot be locked ({error}); make sure that no other run writes it", stacklevel=2)
        return file
    file.close()
    holder = "another process"
    with contextlib.suppress(sqlite3.Error, TypeError), contextlib.closing(sqlite3.connect(path)) as connection:
        holder = json.loads(connection.execute("SELECT value FROM facts WHERE name = 'holder'").fetchone()[0])
    raise UsageError(
        f"another run has this EXPERIMENT_NAME: {holder} writes {path}. Wait for it, stop it, or choose another name"
    )
