"""What the server remembers: accounts, keys, usage, balances and sessions, in an SQLite database.

One connection, used by the server's one thread. What is rare (keys, sessions) is written at once.
What each answer changes (usage, balances, when a key was used) is added up in memory and written in
batches: by ``flush`` twice a second, before each reading, and at the end. So an answer costs the
hot path a few additions, a restart loses nothing, and a killed process at most half a second.
Several processes may share a file: they write differences, and look each time whether another one
has changed the keys. Writes are not forced to the disk: they survive the process, not the machine.
Of secrets only hashes are kept. Money is whole picodollars (USD 10^-12), in which every price for
a million tokens with up to six decimals is exact for each token.
"""

import hashlib
import hmac
import json
import re
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from .errors import OptionError

__all__ = [
    "Account",
    "Holder",
    "Key",
    "Seed",
    "State",
    "UsageRow",
    "picodollars",
]

_APPLICATION = 0x6761_7465  # "gate", so that no other program's database is ever written to
_VERSION = 1
_SESSION_S = 3600
_EPOCH = date(1970, 1, 1)
_DAY_S = 86_400
_WORD = re.compile(r"[a-z0-9-]{1,64}")
_SCHEMA = """
CREATE TABLE accounts (
  id TEXT PRIMARY KEY, profile TEXT NOT NULL, plan TEXT NOT NULL,
  balance_pusd INTEGER NOT NULL, alert_pusd INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE keys (
  id TEXT PRIMARY KEY, account TEXT NOT NULL REFERENCES accounts, hash BLOB NOT NULL,
  profile TEXT NOT NULL, name TEXT NOT NULL, hint TEXT NOT NULL, permissions TEXT,
  created_at INTEGER NOT NULL, last_used_at INTEGER, seeded INTEGER NOT NULL,
  place INTEGER NOT NULL, UNIQUE (profile, hash)
);
CREATE INDEX keys_of_account ON keys (account, place);
CREATE TABLE usage (
  account TEXT NOT NULL, day INTEGER NOT NULL, model TEXT NOT NULL, requests INTEGER NOT NULL,
  prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, cost_pusd INTEGER NOT NULL,
  PRIMARY KEY (account, day, model)
) WITHOUT ROWID;
CREATE TABLE users (
  profile TEXT NOT NULL, name TEXT NOT NULL, account TEXT NOT NULL REFERENCES accounts,
  salt BLOB NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (profile, name)
) WITHOUT ROWID;
CREATE TABLE sessions (
  hash BLOB PRIMARY KEY, profile TEXT NOT NULL, account TEXT NOT NULL REFERENCES accounts,
  ends_at INTEGER NOT NULL
) WITHOUT ROWID;
"""


def picodollars(usd: Decimal) -> int:
    """Turn USD into whole picodollars; raises ValueError where that is not exact."""
    scaled = usd.scaleb(12)
    whole = int(scaled)
    if whole != scaled:
        raise ValueError(f"{usd} USD is not a whole number of picodollars")
    return whole


@dataclass(frozen=True, slots=True)
class Account:
    """Who pays."""

    id: str
    profile: str
    plan: str
    balance_pusd: int
    alert_pusd: int


@dataclass(frozen=True, slots=True)
class Holder:
    """Whom a secret belongs to."""

    key: str
    """The key's id, or that of the session."""
    account: str
    plan: str
    permissions: frozenset[str] | None = None
    """What the key may do; None is everything."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key as its owner may see it: without its secret."""

    id: str
    name: str
    hint: str
    """The secret's ends, which tell keys apart and open nothing."""
    permissions: tuple[str, ...] | None
    created_at: int
    last_used_at: int | None
    seeded: bool
    """It was there from the beginning, and cannot be deleted."""


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What an account used of a model on a day (UTC)."""

    day: date
    model: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost_pusd: int


@dataclass(frozen=True, slots=True)
class Seed:
    """An account that is there from the beginning, with its keys and its user."""

    account: Account
    keys: tuple[tuple[str, tuple[str, ...] | None], ...]
    """Secrets with their permissions."""
    user: tuple[str, str] | None = None
    """Name and password."""


def _hash(secret: str) -> bytes:
    # Keys have 256 random bits; nothing slower than this protects them better.
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def _hash_password(password: str, salt: bytes) -> bytes:
    # Cheap for a password: a login must not hold up the streams for more than a millisecond.
    return hashlib.scrypt(password.encode("utf-8", "surrogateescape"), salt=salt, n=256, r=8, p=1)


def _hint(secret: str) -> str:
    return f"{secret[: secret.find('-') + 1]}...{secret[-4:]}"


class State:
    """All that outlives a request."""

    def __init__(self, path: str = ":memory:", *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._path = path
        try:
            self._db = sqlite3.connect(path, isolation_level=None, timeout=5)
            self._open()
        except sqlite3.Error as error:
            raise OptionError(f"Cannot use {path!r} as the state: {error}.") from None
        self._shared = path != ":memory:"
        self._seen_version = -1
        self._holders: dict[tuple[str, str], Holder | None] = {}
        self._usage: dict[tuple[str, int, str], list[int]] = {}
        self._used_at: dict[str, int] = {}

    def _open(self) -> None:
        db = self._db
        application, version = (
            db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("application_id", "user_version")
        )
        tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if tables and (application, version) != (_APPLICATION, _VERSION):
            raise OptionError(
                f"{self._path!r} holds something else than the state of this version. "
                "Name another file, or remove this one."
            )
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=OFF")
        with db:
            db.execute("BEGIN IMMEDIATE")
            if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                for statement in _SCHEMA.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA application_id={_APPLICATION}")
                db.execute(f"PRAGMA user_version={_VERSION}")

    def close(self) -> None:
        """Write what is left, and let go of the file."""
        self.flush()
        self._db.close()

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    # Accounts and keys

    def seed(self, seeds: Iterable[Seed]) -> None:
        """Add accounts, keys and users that are not there yet; leave the others as they are."""
        with self._db as db:
            db.execute("BEGIN IMMEDIATE")
            for seed in seeds:
                one = seed.account
                db.execute(
                    "INSERT OR IGNORE INTO accounts VALUES (?, ?, ?, ?, ?)",
                    (one.id, one.profile, one.plan, one.balance_pusd, one.alert_pusd),
                )
                for place, (secret, permissions) in enumerate(seed.keys):
                    id_ = f"key_{_hash(f'{one.id}/{place}').hex()[:12]}"
                    self._insert(one, id_, f"demo {place + 1}", secret, permissions, seeded=True)
                if seed.user is not None:
                    name, password = seed.user
                    salt = secrets.token_bytes(16)
                    db.execute(
                        "INSERT OR IGNORE INTO users VALUES (?, ?, ?, ?, ?)",
                        (one.profile, name, one.id, salt, _hash_password(password, salt)),
                    )
        self._holders.clear()

    def _insert(
        self,
        account: Account,
        id_: str,
        name: str,
        secret: str,
        permissions: Iterable[str] | None,
        *,
        seeded: bool,
    ) -> None:
        self._db.execute(
            "INSERT OR IGNORE INTO keys VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, ?, "
            "(SELECT coalesce(max(place), 0) + 1 FROM keys))",
            (
                id_,
                account.id,
                _hash(secret),
                account.profile,
                name,
                _hint(secret),
                None if permissions is None else json.dumps(list(permissions)),
                int(self._now()),
                seeded,
            ),
        )

    def account(self, account: str) -> Account:
        """Return an account with its balance as it is now."""
        self.flush()
        row = self._db.execute(
            "SELECT id, profile, plan, balance_pusd, alert_pusd FROM accounts WHERE id = ?",
            (account,),
        ).fetchone()
        return Account(*row)

    def holder(self, profile: str, secret: str) -> Holder | None:
        """Find whose key or session a secret is."""
        if self._shared and (version := self._version()) != self._seen_version:
            self._seen_version = version
            self._holders.clear()
        place = (profile, secret)
        try:
            holder = self._holders[place]
        except KeyError:
            if len(self._holders) > 10_000:
                self._holders.clear()
            holder = self._find_key(profile, secret) or self._open_own(profile, secret)
            if holder is None:
                return self._find_session(profile, secret)
            self._holders[place] = holder
        if holder is not None:
            self._used_at[holder.key] = int(self._now())
        return holder

    def _find_key(self, profile: str, secret: str) -> Holder | None:
        row = self._db.execute(
            "SELECT keys.id, account, plan, permissions FROM keys "
            "JOIN accounts ON accounts.id = account WHERE keys.profile = ? AND hash = ?",
            (profile, _hash(secret)),
        ).fetchone()
        if row is None:
            return None
        id_, account, plan, written = row
        permissions = None if written is None else frozenset(json.loads(written))
        return Holder(id_, account, plan, permissions)

    def _open_own(self, profile: str, secret: str) -> Holder | None:
        """Open an account for a demo key with a word of the caller's behind it, at its first use.

        So callers who know only the demo keys can each have limits, usage and a balance of their
        own: ``sk-gateproof-demo--mine`` is like ``sk-gateproof-demo``, and nobody else's.
        """
        demo, dashes, word = secret.partition("--")
        if not (dashes and _WORD.fullmatch(word)):
            return None
        row = self._db.execute(
            "SELECT accounts.id, plan, balance_pusd, alert_pusd, permissions FROM keys "
            "JOIN accounts ON accounts.id = account "
            "WHERE keys.profile = ? AND hash = ? AND seeded",
            (profile, _hash(demo)),
        ).fetchone()
        if row is None:
            return None
        of, plan, balance, alert, written = row
        account = Account(f"{of}--{word}", profile, plan, balance, alert)
        permissions = None if written is None else tuple(json.loads(written))
        self.seed([Seed(account, ())])
        id_ = f"key_{_hash(f'{account.id}/{demo}').hex()[:12]}"
        self._insert(account, id_, "demo", secret, permissions, seeded=True)
        return self._find_key(profile, secret)

    def create_key(
        self, account: str, name: str, permissions: Iterable[str] | None, *, prefix: str
    ) -> tuple[Key, str]:
        """Make a key; return it with its secret, which nothing will tell again."""
        secret = prefix + secrets.token_urlsafe(32)
        id_ = f"key_{secrets.token_hex(8)}"
        self._insert(self.account(account), id_, name, secret, permissions, seeded=False)
        return next(key for key in self.keys(account) if key.id == id_), secret

    def keys(self, account: str) -> list[Key]:
        """List the keys of an account, the oldest first."""
        self.flush()
        rows = self._db.execute(
            "SELECT id, name, hint, permissions, created_at, last_used_at, seeded FROM keys "
            "WHERE account = ? ORDER BY place",
            (account,),
        )
        return [
            Key(
                id_,
                name,
                hint,
                None if written is None else tuple(json.loads(written)),
                created_at,
                last_used_at,
                bool(seeded),
            )
            for id_, name, hint, written, created_at, last_used_at, seeded in rows
        ]

    def delete_key(self, account: str, id_: str) -> bool:
        """Delete a key of an account; False when it has no such key, or only a seeded one."""
        gone = self._db.execute(
            "DELETE FROM keys WHERE account = ? AND id = ? AND NOT seeded", (account, id_)
        ).rowcount
        self._holders.clear()
        return gone > 0

    # Sessions

    def login(self, profile: str, name: str, password: str) -> tuple[str, int] | None:
        """Begin a session; return its token and how many seconds it lasts, or None."""
        row = self._db.execute(
            "SELECT account, salt, hash FROM users WHERE profile = ? AND name = ?", (profile, name)
        ).fetchone()
        # A wrong name takes as long as a wrong password.
        account, salt, wanted = row or ("", b"", b"")
        if not hmac.compare_digest(_hash_password(password, salt), wanted):
            return None
        token = secrets.token_urlsafe(32)
        now = int(self._now())
        self._db.execute("DELETE FROM sessions WHERE ends_at <= ?", (now,))
        self._db.execute(
            "INSERT INTO sessions VALUES (?, ?, ?, ?)",
            (_hash(token), profile, account, now + _SESSION_S),
        )
        return token, _SESSION_S

    def _find_session(self, profile: str, token: str) -> Holder | None:
        row = self._db.execute(
            "SELECT accounts.id, plan FROM sessions JOIN accounts ON accounts.id = account "
            "WHERE hash = ? AND sessions.profile = ? AND ends_at > ?",
            (_hash(token), profile, int(self._now())),
        ).fetchone()
        return None if row is None else Holder(f"session_{_hash(token).hex()[:12]}", *row)

    # Usage and balance

    def record(
        self, account: str, model: str, prompt_tokens: int, completion_tokens: int, cost_pusd: int
    ) -> None:
        """Count one answer, and take its cost from the balance."""
        place = (account, int(self._now()) // _DAY_S, model)
        sums = self._usage.get(place)
        if sums is None:
            sums = self._usage[place] = [0, 0, 0, 0]
        sums[0] += 1
        sums[1] += prompt_tokens
        sums[2] += completion_tokens
        sums[3] += cost_pusd

    def flush(self) -> None:
        """Write what has been added up since the last time."""
        if not self._usage and not self._used_at:
            return
        with self._db as db:
            db.execute("BEGIN IMMEDIATE")
            db.executemany(
                "INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET requests = requests + excluded.requests, "
                "prompt_tokens = prompt_tokens + excluded.prompt_tokens, "
                "completion_tokens = completion_tokens + excluded.completion_tokens, "
                "cost_pusd = cost_pusd + excluded.cost_pusd",
                [(*place, *sums) for place, sums in self._usage.items()],
            )
            db.executemany(
                "UPDATE accounts SET balance_pusd = balance_pusd - ? WHERE id = ?",
                [(sums[3], account) for (account, _, _), sums in self._usage.items()],
            )
            db.executemany(
                "UPDATE keys SET last_used_at = ? WHERE id = ?",
                [(at, id_) for id_, at in self._used_at.items()],
            )
        self._usage.clear()
        self._used_at.clear()

    def usage(self, account: str, first: date, last: date) -> list[UsageRow]:
        """List what an account used from one day to another, both included."""
        self.flush()
        rows = self._db.execute(
            "SELECT day, model, requests, prompt_tokens, completion_tokens, cost_pusd FROM usage "
            "WHERE account = ? AND day BETWEEN ? AND ? ORDER BY day, model",
            (account, (first - _EPOCH).days, (last - _EPOCH).days),
        )
        return [UsageRow(_EPOCH + timedelta(days=day), *rest) for day, *rest in rows]

    def today(self) -> date:
        """Return the day (UTC) on which usage is counted now."""
        return datetime.fromtimestamp(self._now(), UTC).date()
