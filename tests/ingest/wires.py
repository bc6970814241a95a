"""The two ends of a connection that is never made: a resolver that answers what it is told, and who was called."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult


class Names(AbstractResolver):
    """Every name has the addresses of ``answers``, comma-separated: those of the first at first, the last for good."""

    def __init__(self, *answers: str) -> None:
        self._answers = list(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0, flags=0,
            )
            for address in answer.split(",")
        ]  # fmt: skip

    async def close(self) -> None: ...


def cut(loop: asyncio.AbstractEventLoop) -> list[str]:
    """From now on no socket of ``loop`` is connected; the list names the addresses that were tried."""
    tried: list[str] = []

    async def connect(_: socket.socket, address: tuple[Any, ...]) -> None:
        tried.append(str(address[0]))
        raise ConnectionRefusedError("a test connects to nobody")

    loop.sock_connect = connect  # type: ignore[method-assign, assignment]
    return tried
