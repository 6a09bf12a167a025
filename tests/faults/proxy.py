"""A TCP proxy of the test's own: it cuts, delays, freezes and diverts connections, or holds back one commit."""

import asyncio
import enum
from types import TracebackType
from typing import Self

from streams.local.ports import LOOPBACK

CHUNK_BYTES = 1 << 16
COMMIT = b"EVALSHA"
REFUSAL = b"$4\r\nlost\r\n"
"""How Redis' answer to a commit under another claim, or from another position, looks on the wire."""


class Moment(enum.Enum):
    """Where a trap springs, seen from a commit that is on its way to Redis."""

    BEFORE = "before"
    """Redis hears nothing of the commit, and the connection is cut."""
    HALF = "half"
    """Redis gets the first half of its bytes, and the connection is cut."""
    AFTER = "after"
    """Redis runs it, and the connection is cut in place of the answer."""
    SWALLOWED = "swallowed"
    """Redis runs it, and no answer ever comes; the connection stays open."""
    HELD = "held"
    """It arrives whole, but not before it is released: the commit of a worker that everybody takes for dead."""


class Trap:
    """Springs once, at the next commit."""

    def __init__(self, moment: Moment) -> None:
        self.moment = moment
        self.sprung = asyncio.Event()
        self.released = asyncio.Event()


class Proxy:
    """Listens on a port of its own and forwards to `target`, a port on the loopback address that may change."""

    def __init__(self, target: int, port: int = 0) -> None:
        self.target = target
        self.port = port
        self.delay_seconds = 0.0
        """Added to every piece of data in both directions."""
        self.slow: tuple[bytes, float] | None = None
        """A word, and the seconds by which requests that have it are held up."""
        self.trap: Trap | None = None
        self.commits = 0
        """Commits that were sent."""
        self.refusals = 0
        """Commits that Redis refused."""
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._connected, LOOPBACK, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Cut everything and listen no more."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.cut()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def cut(self) -> None:
        """Break all connections, whatever is on its way."""
        for writer in self._writers:
            writer.transport.abort()

    def freeze(self) -> None:
        """Let nothing through; connections stay open."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Undo `freeze`."""
        self._flowing.set()

    def divert(self, target: int) -> None:
        """Lead all connections elsewhere, those that are open too."""
        self.target = target
        self.cut()

    def set_trap(self, moment: Moment) -> Trap:
        """Lie in wait for the next commit."""
        self.trap = Trap(moment)
        return self.trap

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        writers = {writer}
        self._writers.add(writer)
        try:
            await self._flowing.wait()
            server_reader, server_writer = await asyncio.open_connection(LOOPBACK, self.target)
            writers.add(server_writer)
            self._writers.add(server_writer)
            link = _Link(self)
            pumps = [
                asyncio.ensure_future(link.to_server(reader, server_writer)),
                asyncio.ensure_future(link.to_client(server_reader, writer)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass  # nobody listens there, or the proxy stops: the client sees a broken connection
        finally:
            self._writers -= writers
            for each in writers:
                each.transport.abort()
            self._tasks.discard(task)

    async def passed(self) -> None:
        """Wait as long as this proxy makes everything wait."""
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        await self._flowing.wait()


class _Link:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._cut_at_answer = False
        self._silent = False

    async def to_server(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what the client says, up to a cut."""
        while data := await reader.read(CHUNK_BYTES):
            await self._proxy.passed()
            slow = self._proxy.slow
            if slow is not None and slow[0] in data:
                await asyncio.sleep(slow[1])
            self._proxy.commits += COMMIT in data
            trap = self._proxy.trap
            if trap is not None and COMMIT in data:
                self._proxy.trap = None
                trap.sprung.set()
                match trap.moment:
                    case Moment.BEFORE:
                        return
                    case Moment.HALF:
                        writer.write(data[: len(data) // 2])
                        await writer.drain()
                        return
                    case Moment.AFTER:
                        self._cut_at_answer = True
                    case Moment.SWALLOWED:
                        self._silent = True
                    case Moment.HELD:
                        await trap.released.wait()
            writer.write(data)
            await writer.drain()

    async def to_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what the server answers, up to a cut."""
        while data := await reader.read(CHUNK_BYTES):
            if self._cut_at_answer:
                return
            if self._silent:
                continue
            self._proxy.refusals += data.count(REFUSAL)
            await self._proxy.passed()
            writer.write(data)
            await writer.drain()
