"""A compact hash table: a million ids with a digest and a small number each, in under 16 MB."""

from hashlib import blake2b
from typing import Final

__all__ = ["DigestIndex", "body_digest", "id_digest"]

KEY: Final = 8
BODY: Final = 4
BITS: Final = 12
BUCKETS: Final = 1 << BITS
"""Number of byte arrays; the first bits of a key select one."""
STORED: Final = KEY - 1
"""Bytes of a key that an entry stores; the bucket implies the first byte."""
ENTRY: Final = STORED + BODY
MARKS: Final = 0b11
"""The bits of a body digest's last byte that store the small number instead."""


def id_digest(custom_id: str) -> bytes:
    """Return an id's digest; for a million ids the odds of a collision are 1 in 37 million."""
    return blake2b(custom_id.encode("utf-8", "surrogatepass"), digest_size=KEY).digest()


def body_digest(body: bytes) -> bytes:
    """Return the digest of a request body: 30 bits, enough to notice a change."""
    *first, last = blake2b(body, digest_size=BODY).digest()
    return bytes((*first, last & ~MARKS))


class DigestIndex:
    """A map from the digest of an id to the digest of a body and a number from 0 to 3.

    A dict with a million of these takes 200 MB. Here entries of 11 bytes are stored contiguously in
    thousands of byte arrays, and a look-up searches one of them.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._buckets = [bytearray() for _ in range(BUCKETS)]
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def get(self, key: bytes) -> tuple[bytes, int] | None:
        """Return the body digest and the number stored for an id; None if there are none."""
        bucket = self._bucket(key)
        at = _find(bucket, key[1:])
        if at < 0:
            return None
        *first, last = bucket[at + STORED : at + ENTRY]
        return bytes((*first, last & ~MARKS)), last & MARKS

    def put(self, key: bytes, body: bytes, number: int) -> None:
        """Store the body digest and the number of an id, replacing earlier ones."""
        bucket = self._bucket(key)
        at = _find(bucket, key[1:])
        if at < 0:
            self._length += 1
            at = len(bucket)
        bucket[at : at + ENTRY] = b"%b%b%c" % (key[1:], body[:-1], body[-1] | number)

    def _bucket(self, key: bytes) -> bytearray:
        return self._buckets[int.from_bytes(key[:2], "big") >> (16 - BITS)]


def _find(bucket: bytearray, stored: bytes) -> int:
    """Return the offset of a key's entry; -1 if there is none."""
    at = bucket.find(stored)
    while at >= 0 and at % ENTRY:  # a chance match that is not at the start of an entry
        at = bucket.find(stored, at + 1)
    return at
