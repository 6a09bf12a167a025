"""Clients of Redis: one server, TLS, Cluster or Sentinel, from the settings. None of them retries by itself.

A script that timed out may have run. Only who knows what the script would have changed can find out, so a client that
sends it again, as redis-py does up to ten times by default, would make two commits out of one or take its own first
commit for somebody else's.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import hiredis
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
    parse_url,
)
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from streams.config import Config, ConfigError
from streams.tls import client_context

Client: TypeAlias = "Redis | RedisCluster"


class _Packing(AbstractConnection):
    """Packs commands in C. The asynchronous client parses with hiredis and packs in Python: 2 us more per event."""

    def pack_command(self, *args: Any) -> list[bytes]:
        if type(args[0]) is str and " " in args[0]:
            return super().pack_command(*args)  # "SCRIPT LOAD" and its like go as two words
        try:
            return [hiredis.pack_command(args)]
        except TypeError:
            return super().pack_command(*args)  # which says what cannot be sent


class _PlainConnection(_Packing, Connection):
    """TCP."""


class _TlsConnection(_Packing, SSLConnection):
    """TLS."""


class _SocketConnection(_Packing, UnixDomainSocketConnection):
    """A socket on this machine."""


class _BehindSentinels(Redis):
    """A client of the primary that Sentinels name. The library's own leaves the connections to them open."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close everything."""
        await super().aclose(close_connection_pool)
        pool: Any = self.connection_pool
        for sentinel in pool.sentinel_manager.sentinels:
            await sentinel.aclose()


_PACKING: dict[type[AbstractConnection], type[AbstractConnection]] = {
    Connection: _PlainConnection,
    SSLConnection: _TlsConnection,
    UnixDomainSocketConnection: _SocketConnection,
}


class _Cluster(RedisCluster):
    """A Cluster's client that hands out plain clients of single nodes.

    The library's own transactions run each command in a thread and an event loop of its own, only to queue it; after
    the loss of a node they leave connections behind that belong to a loop which is closed.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._made: Callable[[], Redis] | None = None
        self._plain: dict[tuple[str, int], Redis] = {}

    def make_nodes_with(self, make: Callable[[], Redis]) -> None:
        """Say how a plain client is made; where it connects to does not matter."""
        self._made = make

    async def node_of(self, key: bytes) -> Redis:
        """The plain client of the node that has a key, as far as known. Raises what the library raises."""
        await self.initialize()
        node = self.get_node_from_key(key)  # type: ignore[arg-type]  # bytes are as good
        assert node is not None
        assert self._made is not None
        address = (node.host, int(node.port))
        if address not in self._plain:
            client = self._plain[address] = self._made()
            client.connection_pool.connection_kwargs |= {"host": node.host, "port": int(node.port)}
        return self._plain[address]

    async def aclose(self) -> None:
        """Close all connections. The library does so, too, when it wants to learn anew who has what."""
        for client in self._plain.values():
            await client.connection_pool.disconnect()
        await super().aclose()


def never_retry() -> Retry:
    """A policy that sends nothing twice."""
    return Retry(NoBackoff(), 0)


def connect(config: Config) -> Client:
    """A client that connects when it is first used. Reads go to primaries only. Close it with `aclose()`.

    Raises `ConfigError` for an address or files of TLS that cannot be used.
    """
    options = _options(config)
    try:
        parse_url(config.redis_url)
    except ValueError:
        # Never the address itself, nor what the library says of it: it may hold a password.
        raise ConfigError("MEDIANA_REDIS_URL", "is no address of a Redis: redis://HOST:PORT/DATABASE") from None
    if config.redis_cluster:
        cluster = _Cluster.from_url(config.redis_url, **options)
        assert isinstance(cluster, _Cluster)
        cluster.make_nodes_with(lambda: _one_server(config, options))
        return cluster
    if config.redis_sentinels is not None:
        return _behind_sentinels(config, options)
    return _one_server(config, options)


async def server_of(client: Any, key: bytes) -> Any:
    """The client of the one server that has `key`: transactions and scripts are a server's own, on a Cluster too.

    Ask anew each time. Elsewhere than on a Cluster it is the client itself. Raises what the client raises. When the
    key has moved meanwhile, so does what comes of it: a command of the Cluster's client finds out where it is.
    """
    return await client.node_of(key) if isinstance(client, _Cluster) else client


def _one_server(config: Config, options: dict[str, Any]) -> Redis:
    client: Redis = Redis.from_url(config.redis_url, **options)
    pool = client.connection_pool
    pool.connection_class = _PACKING.get(pool.connection_class, pool.connection_class)
    return client


def _options(config: Config) -> dict[str, Any]:
    options: dict[str, Any] = {
        "socket_timeout": config.redis_timeout_seconds,
        "socket_connect_timeout": config.redis_timeout_seconds,
        "retry": never_retry(),
        "health_check_interval": 0,
        "client_name": "mediana",
    }
    if config.redis_username is not None:
        options["username"] = config.redis_username
    if config.redis_password is not None:
        options["password"] = str(config.redis_password)
    if config.redis_url.startswith("rediss:"):
        # The library reads the files anew with each connection: one that is missing looks like a server that is away.
        client_context("redis", config.redis_ssl_cafile, config.redis_ssl_certfile, config.redis_ssl_keyfile)
        options |= {
            "ssl_ca_certs": _text(config.redis_ssl_cafile),
            "ssl_certfile": _text(config.redis_ssl_certfile),
            "ssl_keyfile": _text(config.redis_ssl_keyfile),
            "ssl_check_hostname": config.redis_ssl_check_hostname,
        }
    return options


def _behind_sentinels(config: Config, options: dict[str, Any]) -> Redis:
    # The URL's user, password, database and TLS are the servers'; the Sentinels have their own password.
    known = Redis.from_url(config.redis_url, **options).connection_pool
    kwargs = {name: value for name, value in known.connection_kwargs.items() if name not in ("host", "port", "path")}
    if config.redis_url.startswith("rediss:"):
        kwargs["ssl"] = True
    sentinels = []
    assert config.redis_sentinels is not None
    for address in config.redis_sentinels.split(","):
        host, _, port = address.strip().rpartition(":")
        sentinels.append((host or address.strip(), int(port) if host else 26379))
    sentinel_kwargs: dict[str, Any] = {
        "socket_timeout": config.redis_timeout_seconds,
        "socket_connect_timeout": config.redis_timeout_seconds,
        # The next Sentinel is asked instead.
        "retry": never_retry(),
    }
    if config.redis_sentinel_password is not None:
        sentinel_kwargs["password"] = str(config.redis_sentinel_password)
    if config.redis_url.startswith("rediss:"):
        sentinel_kwargs |= {"ssl": True, "ssl_ca_certs": _text(config.redis_ssl_cafile)}
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        sentinels, sentinel_kwargs=sentinel_kwargs, **kwargs
    )
    client: Redis = sentinel.master_for(config.redis_sentinel_service, redis_class=_BehindSentinels)
    return client


def _text(path: object) -> str | None:
    return None if path is None else str(path)
