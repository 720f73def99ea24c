"""A real PostgreSQL for a test: on loopback, in a folder of its own, gone at the end."""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg
from psycopg import sql

from support.ports import free_port
from support.processes import Process
from support.tools import postgres_program
from support.waiting import wait_until

_OWNER = "nobody"
"""Whose the server is when the tests run as root, for whom PostgreSQL does not start."""


class PostgresServer:
    """A server. `durable` makes every commit wait for the disk, as in production."""

    def __init__(self, *, durable: bool = False) -> None:
        self.port = free_port()
        # not pytest's folder: that is closed to the server's user
        self._folder = Path(tempfile.mkdtemp(prefix="nnpm-postgres-"))
        self._password = secrets.token_hex(16)
        self._data = self._folder / "data"
        options = ["max_connections=200", "unix_socket_directories=", "listen_addresses=127.0.0.1"]
        if not durable:
            options += ["fsync=off", "synchronous_commit=off", "full_page_writes=off"]
        command = [*_as_owner(), postgres_program("postgres"), "-D", self._data, "-p", str(self.port)]
        for option in options:
            command += ["-c", option]
        self.process = Process([str(word) for word in command], self._folder / "postgres.log")

    def start(self) -> "PostgresServer":
        """Returns once it takes connections; the first time it makes its data folder."""
        if not self._data.exists():
            self._initialise()
        self.process.start()
        wait_until(self._answers, 60, what="PostgreSQL answers")
        return self

    def kill(self) -> None:
        """SIGQUIT: every connection breaks at once and the next start recovers, as after a crash."""
        self.process.signal(signal.SIGQUIT)
        self.process.wait(30)

    def shut_down(self) -> None:
        """SIGINT, as an operator restarts it: what runs is rolled back, every connection is closed."""
        self.process.signal(signal.SIGINT)
        self.process.wait(60)

    def stop(self) -> None:
        """Whatever its state, it and its data are gone afterwards."""
        self.process.kill_group()
        shutil.rmtree(self._folder, ignore_errors=True)

    def url(self, database: str) -> str:
        return f"postgresql://postgres:{self._password}@127.0.0.1:{self.port}/{database}"

    def make_database(self) -> str:
        """The URL of a new, empty database; it sorts text as people do, past punctuation, where the build knows how."""
        name = f"test_{secrets.token_hex(8)}"
        create = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ").format(sql.Identifier(name))
        by_people = sql.SQL("LOCALE_PROVIDER icu ICU_LOCALE 'en-u-ka-shifted' LOCALE 'C.UTF-8'")
        with self.connect() as connection:
            try:
                connection.execute(create + by_people)
            except (psycopg.errors.FeatureNotSupported, psycopg.errors.SyntaxError):  # no ICU, or older than 15
                connection.execute(create)
        return self.url(name)

    def connect(self, url: str = "") -> psycopg.Connection[tuple[object, ...]]:
        """A connection of the test's own, which commits by itself."""
        return psycopg.connect(url or self.url("postgres"), autocommit=True, connect_timeout=5)

    def _answers(self) -> bool:
        with self.connect() as connection:
            return connection.execute("SELECT 1").fetchone() is not None

    def _initialise(self) -> None:
        word = self._folder / "password"
        word.write_text(self._password)
        if os.geteuid() == 0:
            owner = pwd.getpwnam(_OWNER)
            for path in (self._folder, word):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        command = [
            *(*_as_owner(), postgres_program("initdb"), "--pgdata", self._data, "--username", "postgres"),
            *("--auth", "scram-sha-256", "--pwfile", word, "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"),
        ]
        done = subprocess.run(
            [str(part) for part in command], cwd=self._folder, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr


def _as_owner() -> list[str]:
    if os.geteuid() != 0:
        return []
    owner = pwd.getpwnam(_OWNER)
    return ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups", "--"]
