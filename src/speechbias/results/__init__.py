"""Results on disk: JSON lines, one record per measurement, without time stamps (contract, section 3).

The same run gives the same bytes. Records are appended whole or not at all: the file is rewritten beside itself and
renamed, under a lock, so a full disk, a kill or a second process can never leave half a record.
"""

from speechbias.results.files import (
    append_records,
    append_results,
    check_writable,
    read_records,
    read_results,
    remove_results,
)
from speechbias.results.identity import NAMED, about_of, identity
from speechbias.results.record import SCHEMA, SETS, BiasResult, PairedDifference, Together, called
from speechbias.results.vectors import write_vectors
from speechbias.results.whole import file_sha256, write_whole

__all__ = [
    "NAMED",
    "SCHEMA",
    "SETS",
    "BiasResult",
    "PairedDifference",
    "Together",
    "about_of",
    "append_records",
    "append_results",
    "called",
    "check_writable",
    "file_sha256",
    "identity",
    "read_records",
    "read_results",
    "remove_results",
    "write_vectors",
    "write_whole",
]
