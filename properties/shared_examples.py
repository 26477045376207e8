"""Hypothesis's examples, in a folder here and in a Redis that machines share."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis.database import (
    DirectoryBasedExampleDatabase,
    ExampleDatabase,
    MultiplexedDatabase,
)

from engine.errors import ConfigError

VARIABLE = "PARALLAX_EXAMPLES"
"""Names the Redis, such as redis://10.0.0.1:6379/0."""


def database_at(url: str | None, folder: Path) -> ExampleDatabase:
    """Of a folder alone, or of both: what any machine found, all try first.

    Raises:
        ConfigError: it is no address of a Redis, nobody answers there, or redis is not installed.
    """
    local = DirectoryBasedExampleDatabase(folder)
    if not url:
        return local
    try:
        from hypothesis.extra.redis import RedisExampleDatabase
        from redis import Redis
        from redis.exceptions import RedisError
    except ImportError as error:
        raise ConfigError(
            f'{VARIABLE}={url}: pip install "parallax-engine[fleet]" has redis: {error}'
        ) from error
    try:
        client = Redis.from_url(url)
        client.ping()
    except (RedisError, ValueError) as error:
        raise ConfigError(f"{VARIABLE}={url}: no Redis answers there: {error}") from error
    return MultiplexedDatabase(local, RedisExampleDatabase(client, key_prefix=b"parallax:"))


def shared_database(folder: Path) -> ExampleDatabase:
    """As the environment says; see `database_at`."""
    return database_at(os.environ.get(VARIABLE), folder)
