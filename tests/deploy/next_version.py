"""The command line of a later version, for tests of upgrades: ``python -m tests.deploy.next_version WORDS``.

What it writes has the next version byte; it reads that and ours, as ``stream/contract/codec.py`` promises.
"""

from __future__ import annotations

from stream.contract import codec
from stream.contract.records import AnyRecord

OURS = codec.VERSION
NEXT = OURS + 1
_read = codec.decode


def decode(data: bytes) -> AnyRecord:
    """With a reader for the old form."""
    return _read(bytes((NEXT,)) + bytes(data[1:]) if data[:1] == bytes((OURS,)) else data)


if __name__ == "__main__":
    setattr(codec, "VERSION", NEXT)  # noqa: B010  (a constant)
    setattr(codec, "decode", decode)  # noqa: B010
    from deploy.cli import main

    main()
