"""What a file is that is not a picture, and what to do about it, by its ending or first bytes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

HEIC = 'pip install "raysel[heic]" reads them'

NEEDS_MORE = frozenset({".heic", ".heif", ".hif", ".heics", ".heifs", ".avif", ".avifs"})
"""Endings of pictures that are read where a library is there, or new enough."""

_REMEDIES: tuple[tuple[str, str, frozenset[str]], ...] = (
    ("HEIC pictures", HEIC, frozenset({".heic", ".heif", ".hif", ".heics", ".heifs"})),
    ("AVIF pictures", "Pillow from 11.3 reads them", frozenset({".avif", ".avifs"})),
    (
        "videos",
        "save frames of them as pictures",
        frozenset(
            {
                *(".mp4", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".m4v", ".wmv"),
                *(".3gp", ".flv", ".mts"),
            }
        ),
    ),
    (
        "archives",
        "unpack them",
        frozenset({".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar", ".zst"}),
    ),
    (
        "Parquet or Arrow files",
        "save their pictures as files, and a table with the columns file and label",
        frozenset({".parquet", ".arrow", ".feather"}),
    ),
    (
        "arrays or records",
        "save their pictures as files",
        frozenset(
            {
                *(".npy", ".npz", ".mat", ".h5", ".hdf5", ".hdf", ".pt", ".pth", ".pkl"),
                *(".pickle", ".tfrecord", ".lmdb", ".mdb", ".rec", ".beton"),
            }
        ),
    ),
    (
        "raw files of a camera",
        "save them as JPEG or PNG",
        frozenset({".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf", ".raw"}),
    ),
    (
        "medical images",
        "save them as PNG of 16 bits",
        frozenset({".dcm", ".dicom", ".nii", ".nrrd", ".mha", ".svs", ".ndpi"}),
    ),
    (
        "drawings or documents",
        "save them as PNG",
        frozenset({".svg", ".pdf", ".eps", ".ps", ".wmf", ".emf", ".ai", ".djvu"}),
    ),
    ("JPEG XL pictures", "save them as PNG or JPEG", frozenset({".jxl"})),
)
"""What they are together, what to do, and their endings."""

_CONTENTS: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "is a PDF document"),
    (b"PK\x03\x04", "is a ZIP archive (or a spreadsheet .xlsx)"),
    (b"\x1f\x8b", "is a gzip archive"),
    (b"PAR1", "is a Parquet file"),
    (b"ARROW1", "is an Arrow file"),
    (b"\x89HDF", "is an HDF5 file"),
    (b"\x93NUMPY", "is a NumPy array"),
    (b"\x1aE\xdf\xa3", "is a video (Matroska or WebM)"),
    (b"version https://git-lfs", "is a pointer of Git LFS; fetch the file: git lfs pull"),
    (b"\xff\x0a", "is JPEG XL, which Pillow does not read; save it as PNG or JPEG"),
    (b"\x00\x00\x00\x0cJXL ", "is JPEG XL, which Pillow does not read; save it as PNG or JPEG"),
    (b"%!PS", "is PostScript; save it as PNG"),
)


def is_table_name(path: Path) -> bool:
    """Whether a file is a table by its ending."""
    return path.suffix.lower() in (".csv", ".tsv", ".jsonl", ".ndjson")


def remedy(endings: Iterable[str]) -> str:
    """What files of these endings are and what to do, for a sentence's end; else nothing."""
    there = {ending.lower() for ending in endings}
    hints = [f"{what}: {todo}" for what, todo, known in _REMEDIES if there & known]
    return "; ".join(hints)


def kind_by_content(path: Path) -> str | None:
    """What a regular file is by its first bytes, for a sentence ("is a PDF document"); None where
    that is not known, or it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError:
        return None
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"):
            return f"is HEIC: {HEIC}"
        return "is AVIF that this Pillow cannot open" if brand == b"avif" else "is a video"
    found = next((kind for magic, kind in _CONTENTS if head.startswith(magic)), None)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if found is None and (text.startswith((b"<!doctype html", b"<html"))):
        return "is a web page; the download has failed"
    if found is None and (b"<svg" in text):
        return "is a drawing (SVG); save it as PNG"
    return found
