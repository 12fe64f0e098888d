"""Is the file whole? RIFF sizes, the last ogg page, the frames of an mp3; FLAC's own decoder finds its cuts.

libsndfile hands out what is left of a truncated wav, ogg or mp3 without a word.
"""

import mmap
import struct

from speechbias.audio.mpeg import TruncatedError, check_mpeg

__all__ = ["TruncatedError", "check_ogg", "check_wav", "make_playable"]

_UNKNOWN_SIZE = 0x7FFFF000  # wav written into a pipe announces sizes from here on


def make_playable(data: bytes) -> bytes:
    """The bytes to decode: ``data``, or an mp3 with its length written in; TruncatedError where a part is missing."""
    if data[:4] in (b"RIFF", b"RF64") and data[8:12] == b"WAVE":
        check_wav(data)
    elif data[:4] == b"OggS":
        check_ogg(data)
    elif data[:3] == b"ID3" or _begins_with_sync(data if data[0] else data.lstrip(b"\0")):
        return check_mpeg(data)
    return data


def _begins_with_sync(data: bytes) -> bool:
    """Whether an MPEG audio frame may begin here: 11 set bits."""
    return len(data) > 1 and data[0] == 0xFF and data[1] >= 0xE0


def check_wav(data: bytes | mmap.mmap) -> None:
    """TruncatedError where the samples are fewer than announced; of a mapped file only the headers are read."""
    position, long_size = 12, None
    while position + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, position)
        position += 8
        if name == b"ds64" and position + 16 <= len(data):  # RF64: sizes beyond 4 GB
            long_size = struct.unpack_from("<Q", data, position + 8)[0]
        if name == b"data":
            size = long_size if data[:4] == b"RF64" and long_size is not None else size
            there = len(data) - position
            if there < size and (size < _UNKNOWN_SIZE or size == long_size):
                raise TruncatedError(f"its header announces {size} bytes of samples, {there} are there")
            return
        position += size + size % 2
    raise TruncatedError("it ends before its samples begin")


def check_ogg(data: bytes | mmap.mmap) -> None:
    """TruncatedError where the last page of a stream is cut or missing."""
    position, ended = 0, {}
    while (position := data.find(b"OggS", position)) >= 0:
        table = data[position + 27 : position + 27 + data[position + 26]] if position + 27 <= len(data) else b""
        end = position + 27 + len(table) + sum(table)
        if position + 27 > len(data) or len(table) < data[position + 26] or end > len(data):
            raise TruncatedError("its last ogg page is incomplete")
        ended[data[position + 14 : position + 18]] = bool(data[position + 5] & 4)  # serial number: end of stream
        position = end
    if not all(ended.values()):
        raise TruncatedError("its last ogg page is missing")
