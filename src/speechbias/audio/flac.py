"""Does a FLAC file end where its header says? Answered from its last frame, without decoding the others.

A frame begins with 14 set bits, its coded number (of the frame, or of its first sample) and a CRC-8 of its header, and
ends with a CRC-16 of the whole (RFC 9639, section 9). A file is whole when a sound frame with the last sample ends it.
"""

from pathlib import Path

_TAIL = 1 << 16  # bytes; 4096 samples of 16-bit stereo are at most 16 kB


def _table(polynomial: int, bits: int) -> tuple[int, ...]:
    """Remainders of all bytes, for a CRC of so many bits."""
    rows = []
    for byte in range(256):
        value = byte << (bits - 8)
        for _ in range(8):
            value = (value << 1) ^ (polynomial if value >> (bits - 1) & 1 else 0)
            value &= (1 << bits) - 1
        rows.append(value)
    return tuple(rows)


_CRC_8, _CRC_16 = _table(0x07, 8), _table(0x8005, 16)


def ends_whole(path: Path, samples: int) -> bool:
    """Whether the file's last frame is whole and holds the last of ``samples``; False may also mean: unknown."""
    with path.open("rb") as file:
        head = file.read(26)  # "fLaC", then the STREAMINFO block with the smallest and largest block size
        start = max(26, file.seek(0, 2) - _TAIL)
        file.seek(start)
        tail = file.read()
    block = int.from_bytes(head[10:12], "big")  # of every frame but the last, where the block size is fixed
    position = len(tail)
    while (position := tail.rfind(b"\xff", 0, position)) >= 0:
        if _last_sample(tail[position : position + 16], block) == samples and _crc_16(tail[position:]) == 0:
            return True
    return False


def _last_sample(header: bytes, block: int) -> int | None:
    """How many samples the stream has after the frame with this header; None where no frame begins."""
    if len(header) < 6 or header[1] & 0xFE != 0xF8:
        return None
    number, position = _coded_number(header, 4)
    code = header[2] >> 4
    extra = {6: 1, 7: 2}.get(code, 0)
    size = int.from_bytes(header[position : position + extra], "big") + 1 if extra else _block_size(code)
    position += extra + {12: 1, 13: 2, 14: 2}.get(header[2] & 15, 0)  # the sample rate, written out
    if size is None or position >= len(header) or _crc_8(header[:position]) != header[position]:
        return None
    variable = bool(header[1] & 1)
    return (number if variable else number * block) + size


def _block_size(code: int) -> int | None:
    if code == 0:
        return None
    return 192 if code == 1 else 576 << (code - 2) if code <= 5 else 256 << (code - 8)


def _coded_number(data: bytes, position: int) -> tuple[int, int]:
    """A number written as UTF-8 writes characters (up to 36 bits), and where it ends."""
    first = data[position]
    length = 8 - (first ^ 0xFF).bit_length()  # leading ones
    number = first & (0x7F >> length)
    for byte in data[position + 1 : position + max(length, 1)]:
        number = number << 6 | byte & 0x3F
    return number, position + max(length, 1)


def _crc_8(data: bytes) -> int:
    value = 0
    for byte in data:
        value = _CRC_8[value ^ byte]
    return value


def _crc_16(data: bytes) -> int:
    value = 0
    for byte in data:
        value = (value << 8 & 0xFFFF) ^ _CRC_16[value >> 8 ^ byte]
    return value
