"""Frames of an mp3: are all of them there, and how many are they.

An mp3 is a row of frames, each with a header of 4 bytes that gives its length (ISO 11172-3, 13818-3). Most files begin
with a frame without audio whose Xing, Info or VBRI header announces how many follow. Where it is missing libsndfile
guesses the length from the first bit rate, and silently ends a stream of variable bit rate early; so it is written in.
"""

import struct
from dataclasses import dataclass


class TruncatedError(Exception):
    """The file ends before its container says so; the text says how that shows."""


# Bit rates in kbit/s by (MPEG-1?, layer); index 0 (free format) and 15 (forbidden) give no length.
_BIT_RATES = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SAMPLE_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # MPEG-1, 2, 2.5
_SAME_KIND = 0xFFFE0C00  # bits of a header that all frames of a stream share: sync, version, layer, sample rate


def _frame_length(header: int) -> int | None:
    """Length in bytes of the MPEG audio frame that begins with these 32 bits; None if they are no frame header."""
    version, layer = header >> 19 & 3, 4 - (header >> 17 & 3)
    rate_index, sample_index = header >> 12 & 15, header >> 10 & 3
    if header >> 21 != 0x7FF or version == 1 or layer == 4 or rate_index in (0, 15) or sample_index == 3:
        return None
    bits = _BIT_RATES[version == 3, layer][rate_index - 1] * 1000
    sample_rate, padding = _SAMPLE_RATES[version][sample_index], header >> 9 & 1
    if layer == 1:
        return (12 * bits // sample_rate + padding) * 4
    return (72 if layer == 3 and version != 3 else 144) * bits // sample_rate + padding


def _header_at(data: bytes, position: int) -> int:
    return int.from_bytes(data[position : position + 4], "big") if position + 4 <= len(data) else 0


def _skip_leading_tags(data: bytes) -> int:
    """Where the first byte after any ID3v2 tags stands."""
    position = 0
    while data[position : position + 3] == b"ID3" and position + 10 <= len(data):
        a, b, c, d = data[position + 6 : position + 10]  # 7 bits each
        position += 10 + (a << 21 | b << 14 | c << 7 | d) + 10 * (data[position + 5] >> 4 & 1)
    return position


def _skip_trailing_tags(data: bytes) -> int:
    """Where the first byte of any ID3v1, Lyrics3 or APE tags at the end stands."""
    end, before = len(data), -1
    while end != before:
        before = end
        if data[max(end - 128, 0) : end].startswith(b"TAG"):
            end -= 128
        if data[max(end - 9, 0) : end] == b"LYRICS200" and data[end - 15 : end - 9].isdigit():
            end -= int(data[end - 15 : end - 9]) + 15
        if data[max(end - 32, 0) : end].startswith(b"APETAGEX"):
            size, _, flags = struct.unpack_from("<III", data, end - 20)
            end -= size + (32 if flags >> 31 else 0)
    return max(end, 0)


@dataclass(frozen=True)
class _Mpeg:
    """The frames of an mp3 without its tags: where each begins, and whether the last one is incomplete."""

    starts: list[int]
    end: int  # of the last whole frame
    incomplete: bool


def _find_frame(data: bytes, position: int, kind: int | None = None) -> int | None:
    """Next frame header from ``position`` on that another one follows (or, for the first, the end of the file)."""
    while (position := data.find(b"\xff", position)) >= 0:
        header = _header_at(data, position)
        length = _frame_length(header)
        if length and (kind is None or header & _SAME_KIND == kind):
            follower = _header_at(data, position + length) & _SAME_KIND
            if follower == header & _SAME_KIND or (kind is None and position + length >= len(data)):
                return position
        position += 1
    return None


def _walk_frames(data: bytes) -> _Mpeg | None:
    """All frames; None where there is none. Rubbish before, between and after frames is stepped over."""
    position = _find_frame(data, 0)
    if position is None:
        return None
    first = last = position
    starts: list[int] = []
    kind = _header_at(data, first) & _SAME_KIND
    while position is not None and position + 4 <= len(data):
        header = _header_at(data, position)
        length = _frame_length(header) if header & _SAME_KIND == kind else None
        if length is None:
            position = _find_frame(data, position + 1, kind)
        elif position + length > len(data):
            return _Mpeg(starts, last, incomplete=True)
        else:
            starts.append(position)
            position = last = position + length
    rest = data[position:][:2] if position is not None else b""  # the first bytes of another header
    return _Mpeg(starts, last, incomplete=bool(rest) and data[first : first + len(rest)] == rest)


def _read_announcement(data: bytes, start: int) -> tuple[int | None, int | None]:
    """Frames and bytes that a Xing, Info or VBRI header in the first frame announces, None for what it does not."""
    head = data[start : start + 200]
    for name in (b"Xing", b"Info"):
        at = head.find(name, 4, 48)  # behind the side information: 9 to 32 bytes, checksum or not
        if at >= 0 and len(head) >= at + 16:
            flags, first, second = struct.unpack_from(">III", head, at + 4)
            frames, size = (first, second) if flags & 1 else (None, first)
            return frames or None, size if flags & 2 else None
    if head[36:40] == b"VBRI" and len(head) >= 54:
        size, frames = struct.unpack_from(">II", head, 46)
        return frames or None, size
    return None, None


def check_mpeg(data: bytes) -> bytes:
    """The mp3 with its length written in where its header has none; TruncatedError where frames are missing."""
    begin, end = _skip_leading_tags(data), _skip_trailing_tags(data)
    if data[begin : begin + 4] in (b"fLaC", b"OggS", b"RIFF"):
        return data  # tags before another container
    if begin >= len(data):
        raise TruncatedError("it ends within its ID3 tag")
    data = data[begin:end]
    mpeg = _walk_frames(data)
    if mpeg is None:
        return data
    if not mpeg.starts:
        raise TruncatedError("it ends within its first frame")
    first = mpeg.starts[0]
    announced, size = _read_announcement(data, first)
    audio = mpeg.starts[announced is not None or size is not None :]  # the header's own frame holds none
    data_size, data = len(data) - first, data[: mpeg.end]  # libmpg123 would take for audio what stands behind
    if announced is None:
        if mpeg.incomplete:
            raise TruncatedError("its last mp3 frame is incomplete")
        return _announce(data, audio) if audio else data[first:]
    # Some writers count the header's own frame, so one frame less must show in the bytes too.
    short_of_bytes = mpeg.incomplete or (size is not None and data_size < size)
    if len(audio) < announced - 1 or (len(audio) < announced and short_of_bytes):
        raise TruncatedError(f"its header announces {announced} mp3 frames, {len(audio)} are there")
    return _announce(data, audio) if len(audio) > announced + 1 else data[first:]


def _announce(data: bytes, starts: list[int]) -> bytes:
    """The stream with a Xing header before it: without one libsndfile guesses the length from the first bit rate.

    A stream of variable bit rate would end early without a word.
    """
    header = _header_at(data, starts[0])
    if header >> 17 & 3 != 1:  # not layer III
        return data
    version_1, mono = header >> 19 & 3 == 3, header >> 6 & 3 == 3
    header = header & ~0xF200 | (5 if version_1 else 8) << 12 | 1 << 16  # 64 kbit/s, no padding, no checksum
    side = (17 if mono else 32) if version_1 else (9 if mono else 17)
    frame = struct.pack(">I", header) + bytes(side) + b"Xing" + struct.pack(">II", 1, len(starts))
    return frame.ljust(_frame_length(header) or 0, b"\0") + data[starts[0] :]
