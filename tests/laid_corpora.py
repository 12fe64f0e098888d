"""Corpora laid down under the names that they give their files: the Speech Accent Archive, the Morgan set."""

import functools
import io

import numpy as np
import openpyxl
import soundfile

from speechbias.corpora import accent_archive, morgan

HEADER = "age,age_onset,birthplace,filename,native_language,sex,speakerid,country,file_missing?,,,"
SPEAT_FOLDERS = {"gender": "male_female", "native": "us_korean", "age": "usa_young_old", "age-uk": "british_young_old"}
CODES = [f"{e}{g}{t}{c}{n:02d}" for e in "ACHS" for g in "FM" for t in "123" for c in "MTV" for n in range(1, 26)]


@functools.cache
def recording(suffix):
    """A tenth of a second of noise; all files of a corpus are the same, which the tests of building do not mind."""
    samples = 0.3 * np.random.default_rng(0).uniform(-1, 1, 1600)
    data = io.BytesIO()
    soundfile.write(data, samples, 16_000, format={".wav": "WAV", ".mp3": "MP3", ".flac": "FLAC"}[suffix])
    return data.getvalue()


def lay_down(*paths):
    """Write a recording to each of the paths."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(recording(path.suffix))


def public_row(listed, age=30):
    language, country = ("korean", "south korea") if listed.group == "Korean" else ("english", "usa")
    return f'{age},0,"somewhere, {country}",{listed.name},{language},{listed.sex},{listed.id},{country},FALSE,,,'


def lay_archive(folder):
    """A public copy that has everybody on SpEAT's lists; ages are made up."""
    listed = {each.id: each for category in SPEAT_FOLDERS for each in accent_archive.read_list(category)}
    lay_down(*(folder / "recordings" / f"{each.name}.mp3" for each in listed.values()))
    rows = [public_row(each, 20 + int(each.id) % 50) for each in listed.values()]
    (folder / "speakers_all.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    return folder


def write_ratings(folder, valence, codes=CODES, name=morgan.RATINGS):
    book = openpyxl.Workbook()
    book.active.append(["notes"])
    sheet = book.create_sheet("ratings")
    sheet.append(list(morgan.COLUMNS))
    for code, value in zip(codes, valence, strict=True):
        sheet.append([code, code[1], int(code[2]), code[0], code[3], value, 2.5])
    folder.mkdir(exist_ok=True)
    book.save(folder / name)
    return folder


def lay_morgan(folder):
    """The whole set with ratings that are made up."""
    write_ratings(folder, np.round(np.random.default_rng(3).normal(3, 1, len(CODES)), 1).tolist())
    lay_down(*(folder / f"{code}_SCR.wav" for code in CODES))
    return folder
