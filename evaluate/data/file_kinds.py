"""Tells what a file is by its first bytes, as endings of names are often wrong or missing."""

import re
from pathlib import Path

IMAGE, RAW_IMAGE = "an image", "a camera's raw image"
# The first bytes of formats, as the list of the `file` command has them.
READ = (
    re.compile(rb"\xff\xd8\xff"),  # JPEG
    re.compile(rb"\x89PNG\r\n\x1a\n"),
    re.compile(rb"GIF8[79]a"),
    re.compile(rb"BM.{4}\0{4}", re.DOTALL),
    re.compile(rb"II[*+]\0|MM\0[*+]"),  # TIFF
    re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
    re.compile(rb"P[1-6][ \t\r\n]+[#0-9]"),  # PPM
    re.compile(rb".{4}ftyp(avif|avis)", re.DOTALL),
)
NOT_READ = {
    "a HEIC image": re.compile(rb".{4}ftyp(he[ivm]|mif1|msf1)", re.DOTALL),
    "a video": re.compile(rb".{4}ftyp|\x1aE\xdf\xa3|RIFF.{4}AVI ", re.DOTALL),
    "a JPEG 2000 image": re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
    "a JPEG XL image": re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "),
    "a Photoshop image": re.compile(rb"8BPS"),
    "an icon image": re.compile(rb"\0\0\x01\0|icns"),
    "an OpenEXR image": re.compile(rb"\x76\x2f\x31\x01"),
    "a Radiance image": re.compile(rb"#\?R(ADIANCE|GBE)"),
    "a texture image": re.compile(rb"DDS |\xabKTX"),
    "a PostScript image": re.compile(rb"%!PS|\xc5\xd0\xd3\xc6"),
    "a DICOM image": re.compile(rb".{128}DICM", re.DOTALL),
    "a FITS image": re.compile(rb"SIMPLE  ="),
    "an SVG image": re.compile(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<svg", re.DOTALL),
    "a web page": re.compile(rb"\s*<(!doctype html|html)", re.IGNORECASE),
    "a pointer of Git LFS": re.compile(rb"version https://git-lfs"),
    "a PDF": re.compile(rb"%PDF"),
    "an archive": re.compile(
        rb"PK\x03\x04|\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!|.{257}ustar", re.DOTALL
    ),
}
# Most are TIFF by their first bytes, with a thumbnail that would be read in place of the picture.
RAW = frozenset(
    (
        *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".kdc", ".mrw", ".nef", ".nrw"),
        *(".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
    )
)
SNIFFED_BYTES = 512


def kind_of(file: Path) -> str:
    """Name what a regular file is: `IMAGE` for an image of a format that is read.

    Raises:
        OSError: If the file cannot be read.
    """
    with open(file, "rb") as stream:
        start = stream.read(SNIFFED_BYTES).removeprefix(b"\xef\xbb\xbf")
    if is_raw(file):
        return RAW_IMAGE
    if any(signs.match(start) for signs in READ):
        return IMAGE
    for kind, signs in NOT_READ.items():
        if signs.match(start):
            return kind
    if not start.strip():
        return "an empty file"
    return "data" if b"\0" in start else "text"


def is_raw(file: Path) -> bool:
    """Whether a file is a camera's by its ending: its first bytes may be those of a TIFF."""
    return file.suffix.lower() in RAW


def is_image(kind: str) -> bool:
    """Whether a kind that `kind_of` names is an image, of a format that is read or not."""
    return kind.endswith("image")
