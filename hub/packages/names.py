"""Package ids, and what a package's file name says: ID.VERSION.EXT; PURE."""

import re
from dataclasses import dataclass

from hub.errors import Invalid
from hub.packages.versions import Version, VersionError

# Longest first: x.tar.gz is a tar.gz, never a gz.
EXTENSIONS = ("tar.bz2", "tar.zst", "tar.gz", "nupkg", "tar", "zip", "whl", "jar")
MAX_ID_LENGTH = 100
MAX_NAME_LENGTH = 255
_ID = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]|\.(?!\.))*(?<![.-])", re.ASCII)
_STARTS_VERSION = re.compile(r"\.(?=[vV]?[0-9])", re.ASCII)


class BadName(ValueError):
    """The name cannot be that of a package; the message says what was expected."""


@dataclass(frozen=True, slots=True)
class PackageFile:
    """What a package is called."""

    id: str
    version: Version
    extension: str

    @property
    def name(self) -> str:
        return f"{self.id}.{self.version.text}.{self.extension}"


def check_id(text: str) -> str:
    """The id as it is, when it is one.

    Raises:
        BadName: it holds anything but letters, digits, `_`, and `.` or `-` inside.
    """
    if len(text) > MAX_ID_LENGTH:
        raise BadName(f"a package id is at most {MAX_ID_LENGTH} characters long; this one has {len(text)}")
    if _ID.fullmatch(text) is None:
        raise BadName(
            f"{text[:40]!a} is no package id: expected letters, digits and _, with single dots or hyphens inside"
        )
    return text


def parse_filename(name: str) -> PackageFile:
    """Read ID.VERSION.EXT; the id ends where the first text that is a version up to the extension begins.

    Raises:
        BadName: any of the three parts is missing or wrong.
    """
    if len(name) > MAX_NAME_LENGTH:
        raise BadName(f"a package's file name is at most {MAX_NAME_LENGTH} characters long; this one has {len(name)}")
    extension = next((ending for ending in EXTENSIONS if name.lower().endswith("." + ending)), None)
    if extension is None:
        raise BadName(f"{name[:60]!a}: expected a name that ends in one of {', '.join(sorted(EXTENSIONS))}")
    stem = name[: -len(extension) - 1]
    wrong_version: VersionError | None = None
    for start in _STARTS_VERSION.finditer(stem):
        try:
            version = Version.parse(stem[start.end() :])
        except VersionError as error:
            wrong_version = wrong_version or error
            continue
        return PackageFile(check_id(stem[: start.start()]), version, extension)
    if wrong_version is not None:
        raise BadName(str(wrong_version)) from wrong_version
    raise BadName(f"{name[:60]!a}: expected ID.VERSION.{extension}, such as storefront.1.4.0.{extension}")


def parse_package_name(name: object) -> PackageFile:
    """As `parse_filename`, of whatever a request holds.

    Raises:
        Invalid: it is no text, or no such name.
    """
    if not isinstance(name, str):
        raise Invalid("expected a file name, ID.VERSION.EXT", field="name")
    try:
        return parse_filename(name)
    except BadName as error:
        raise Invalid(str(error), field="name") from error
