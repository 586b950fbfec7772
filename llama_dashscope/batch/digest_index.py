"""A compact hash table: a million ids, and what is known of each, in less than 16 MB."""

from hashlib import blake2b
from typing import Final

__all__ = ["DigestIndex", "body_digest", "id_digest"]

KEY: Final = 8
BODY: Final = 4
BITS: Final = 12
BUCKETS: Final = 1 << BITS
"""A key's first bits say which of so many byte arrays it is in."""
STORED: Final = KEY - 1
"""Bytes of a key that an entry holds: its bucket stands for the first one."""
ENTRY: Final = STORED + BODY
MARKS: Final = 0b11
"""The bits of a body's last byte that hold a small number instead."""


def id_digest(custom_id: str) -> bytes:
    """Return what stands for an id: two of a million ids share one with a chance of 1 to 37e6."""
    return blake2b(custom_id.encode("utf-8", "surrogatepass"), digest_size=KEY).digest()


def body_digest(body: bytes) -> bytes:
    """Return what stands for a request body: 30 bits, enough to notice that it has changed."""
    *first, last = blake2b(body, digest_size=BODY).digest()
    return bytes((*first, last & ~MARKS))


class DigestIndex:
    """A map from the digest of an id to the digest of a body and a number from 0 to 3.

    A dict of such a million takes 200 MB. Here entries of 11 bytes stand one after the other in
    thousands of byte arrays, and a look-up searches one of them.
    """

    def __init__(self) -> None:
        """Begin empty."""
        self._buckets = [bytearray() for _ in range(BUCKETS)]
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def get(self, key: bytes) -> tuple[bytes, int] | None:
        """Return what is known of an id: the digest of its body, and its number."""
        bucket = self._bucket(key)
        at = _find(bucket, key[1:])
        if at < 0:
            return None
        *first, last = bucket[at + STORED : at + ENTRY]
        return bytes((*first, last & ~MARKS)), last & MARKS

    def put(self, key: bytes, body: bytes, number: int) -> None:
        """Note what is known of an id, instead of what was."""
        bucket = self._bucket(key)
        at = _find(bucket, key[1:])
        if at < 0:
            self._length += 1
            at = len(bucket)
        bucket[at : at + ENTRY] = b"%b%b%c" % (key[1:], body[:-1], body[-1] | number)

    def _bucket(self, key: bytes) -> bytearray:
        return self._buckets[int.from_bytes(key[:2], "big") >> (16 - BITS)]


def _find(bucket: bytearray, stored: bytes) -> int:
    """Return where the entry of a key begins, -1 where there is none."""
    at = bucket.find(stored)
    while at >= 0 and at % ENTRY:  # across two entries, by chance
        at = bucket.find(stored, at + 1)
    return at
