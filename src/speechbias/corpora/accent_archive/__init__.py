"""Speech Accent Archive (accent.gmu.edu): one English paragraph read by speakers from all over the world.

Read from its public copy (``speakers_all.csv`` and ``recordings/*.mp3``) or from folders as SpEAT keeps them
(``clip_info.csv`` beside ``<id>.wav`` or ``<id>.mp3``). Without ``--count`` the targets are SpEAT's own lists
(``lists.csv``: ids, groups and pairs from the clip_info.csv files of github.com/isaacOnline/SpEAT,
commit e08f05ec): Gender 60, Native 59, Age 58 per group in a full archive. With ``--count`` they are drawn anew, by
rule. Every speaker speaks once.
"""

from dataclasses import replace
from functools import partial

from speechbias.corpora.accent_archive.by_rule import build_by_rule, build_languages
from speechbias.corpora.accent_archive.listed import build_listed_ages, build_listed_pairs, read_list
from speechbias.corpora.accent_archive.speakers import ARCHIVE, GROUPS, read_archive
from speechbias.corpora.corpus import Part, Request

__all__ = ["CORPUS", "read_archive", "read_list"]


def _build(category: str, request: Request) -> Part:
    if request.count is not None:
        return build_by_rule(category, request, request.count)
    build = build_listed_ages if category.startswith("age") else build_listed_pairs
    return build(category, request)


CORPUS = replace(
    ARCHIVE, categories={category: partial(_build, category) for category in GROUPS} | {"languages": build_languages}
)
