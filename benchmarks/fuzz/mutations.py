"""Valid bytes, changed at random."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

NASTY = (
    b"\x00", b"\xff\xfe", b"\n", b"\t", b'"', b"{", b"[" * 3000, b"9" * 30, b"-1", b"1e309", b"NaN", b"null", b"\\",
    b"\xf0\x9f\xa7\xac", b"\r\n", b" ", b";", b":", b"=", b"a" * 5000, b"\x1f\x8b\x08\x00", b"PK\x03\x04", b"true",
)  # fmt: skip


@st.composite
def changed(draw: st.DrawFn, base: bytes, tokens: Sequence[bytes] = (), *, most: int = 5) -> bytes:
    """``base`` with up to ``most`` spans replaced by tokens, flipped, cut or repeated."""
    data = bytearray(base)
    for _ in range(draw(st.integers(0, most))):
        at, span = draw(st.integers(0, len(data))), draw(st.integers(0, 40))
        kind = draw(st.sampled_from(("flip", "replace", "insert", "delete", "repeat", "cut")))
        if kind == "flip" and at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind in ("replace", "insert"):
            token = draw(st.one_of(st.sampled_from((*NASTY, *tokens)), st.binary(max_size=12)))
            data[at : at + span * (kind == "replace")] = token
        elif kind == "delete":
            del data[at : at + span]
        elif kind == "repeat":
            data[at:at] = data[at : at + span] * draw(st.integers(1, 50))
        elif kind == "cut":
            del data[at:]
    return bytes(data)


def packed(base: bytes, tokens: Sequence[bytes] = ()) -> st.SearchStrategy[bytes]:
    """``base`` changed, sometimes gzipped, sometimes gzipped and then changed."""
    import gzip

    zipped = gzip.compress(base, mtime=0)
    return st.one_of(changed(base, tokens), changed(base, tokens).map(gzip.compress), changed(zipped, most=2))
