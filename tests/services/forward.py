"""Makes a service of this machine reachable at another address, or a worse service than it is."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

OVERLOADED = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
METHODS = (b"GET ", b"PUT ", b"POST ", b"HEAD ", b"DELETE ")


class Forwarder:
    """Takes connections and passes what comes to a port of this machine.

    Attributes:
        delay_s: how much later each request arrives.
        failing: share of the HTTP requests that fail: every other one is answered with 503, of the rest the answer is
            lost, though the request was carried out.
        failed: how many have.
    """

    def __init__(self, port: int) -> None:
        self.delay_s, self.failing, self.failed = 0.0, 0.0, 0
        self._port = port
        self._draw = random.Random(0)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        with suppress(OSError, asyncio.CancelledError):
            back, forth = await asyncio.open_connection("127.0.0.1", self._port)
            answers = asyncio.ensure_future(_pass_on(back, writer))
            try:
                while part := await reader.read(1 << 16):
                    if part.startswith(METHODS):
                        await asyncio.sleep(self.delay_s)
                        if self._draw.random() < self.failing:
                            self.failed += 1
                            if self.failed % 2:
                                answers.cancel()
                                writer.write(OVERLOADED)
                                break
                            # So that no byte of the answer comes back.
                            answers.cancel()
                            forth.write(part)
                            await forth.drain()
                            await asyncio.wait_for(back.read(1), 30)
                            break
                    forth.write(part)
                    await forth.drain()
            finally:
                answers.cancel()
                forth.close()
        with suppress(OSError):
            writer.close()


@contextmanager
def forwarding(to: str, at: str = "127.0.0.1") -> Iterator[tuple[str, Forwarder]]:
    """The address of a forwarder to `to`, `http://127.0.0.1:port`, while the block runs.

    Args:
        to: what is forwarded.
        at: address of this machine to listen at.
    """
    port = urlsplit(to).port
    assert port is not None
    forwarder = Forwarder(port)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(asyncio.start_server(forwarder.take, at, 0), loop).result(30)
    try:
        yield f"http://{at}:{server.sockets[0].getsockname()[1]}", forwarder
    finally:
        asyncio.run_coroutine_threadsafe(_close(server), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while part := await reader.read(1 << 16):
            writer.write(part)
            await writer.drain()
        writer.close()


async def _close(server: asyncio.Server) -> None:
    server.close()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
