"""The server: uvicorn with an end that open requests hear of. A signal closes the door; requests that are still open when
most of the grace time is over get their error while their connections stand."""

from __future__ import annotations

import asyncio
import socket

import uvicorn

from trl_r1.serving.app import Serving


SHARE = 0.7  # of the grace time that requests have to end by themselves


class GracefulServer(uvicorn.Server):
    """Ends open requests with an error object before uvicorn would cut them off.

    Args:
        config: its ``timeout_graceful_shutdown`` is the grace time, in seconds.
    """

    def __init__(self, config: uvicorn.Config, serving: Serving) -> None:
        super().__init__(config)
        self.serving = serving

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, with the call that ends what is still open."""
        grace = self.config.timeout_graceful_shutdown or 0
        closing = asyncio.get_running_loop().call_later(SHARE * grace, self.serving.close)
        try:
            await super().shutdown(sockets)
        finally:
            closing.cancel()
