"""The page as objects of its bucket: the files that the server serves too, and what tells the page
where users sign in.

Everything but ``index.html`` and ``config.json`` lies under a name that is a hash of it all, and
``index.html`` points there. So browsers and CloudFront keep files for as long as they like, and a
new version is there as a whole or not at all.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import orjson
from botocore.exceptions import ClientError

from consumers.aws.errors import code_of

STATIC: Final = Path(__file__).parents[3] / "dashboard" / "static"
INDEX: Final = "index.html"
CONFIG: Final = "config.json"
FOR_EVER: Final = "public, max-age=31536000, immutable"
ASK_AGAIN: Final = "no-cache"
TYPES: Final[Mapping[str, str]] = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".LICENSE": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml",
}
_LINK: Final = re.compile(r'( (?:src|href)=")([^"#:]+)(?=")')
_VERSION: Final = re.compile(r"[0-9a-f]{16}(?=/)")


class File(NamedTuple):
    """An object of the bucket."""

    key: str
    content: bytes
    cache: str

    @property
    def type(self) -> str:
        """Its media type."""
        return TYPES[Path(self.key).suffix]


class Change(NamedTuple):
    """What an upload did: the keys that it wrote, and those that it removed."""

    written: tuple[str, ...]
    removed: tuple[str, ...]


class Objects(Protocol):
    """The calls of S3 that this module needs."""

    def get_paginator(self, name: Any, /) -> Any:
        """As ``boto3``'s."""

    def get_object(self, *, Bucket: str, Key: str) -> Any:
        """As ``boto3``'s."""

    def put_object(
        self, *, Bucket: str, Key: str, Body: bytes, ContentType: str, CacheControl: str
    ) -> Any:
        """As ``boto3``'s."""

    def delete_object(self, *, Bucket: str, Key: str) -> Any:
        """As ``boto3``'s."""


def bucket_name(stack: str, account: str, region: str) -> str:
    """The bucket's name, as ``api.yaml`` has it.

    >>> bucket_name("plant-7", "123456789012", "eu-west-1")
    'plant-7-page-123456789012-eu-west-1'
    """
    return f"{stack}-page-{account}-{region}"


def page_files(config: Mapping[str, Any], folder: Path = STATIC) -> list[File]:
    """The page's objects, in the order in which they are written: what points to others last."""
    found = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    index = found.pop(INDEX).decode()
    found.pop(CONFIG)
    version = _version(found)
    return [
        *(File(f"{version}/{name}", content, FOR_EVER) for name, content in found.items()),
        File(CONFIG, orjson.dumps(config), ASK_AGAIN),
        File(INDEX, linked(index, version, found).encode(), ASK_AGAIN),
    ]


def linked(index: str, version: str, names: Iterable[str]) -> str:
    """The page with links to files of a version.

    >>> linked('<img src="a.svg"> <a href="#/b">', "1f", ["a.svg"])
    '<img src="1f/a.svg"> <a href="#/b">'
    """
    known = frozenset(names)
    return _LINK.sub(
        lambda link: f"{link[1]}{version}/{link[2]}" if link[2] in known else link[0], index
    )


def upload(s3: Objects, bucket: str, files: Iterable[File]) -> Change:
    """Write what is not there as it is. Files of the version before stay, for pages that are open;
    older ones go."""
    wanted = list(files)
    there = set(_keys(s3, bucket))
    before = _VERSION.search((_content(s3, bucket, INDEX) or b"").decode())
    written = []
    for file in wanted:
        is_there = file.key in there
        if file.cache != FOR_EVER:
            is_there = _content(s3, bucket, file.key) == file.content
        if not is_there:
            s3.put_object(
                Bucket=bucket, Key=file.key, Body=file.content, ContentType=file.type,
                CacheControl=file.cache,
            )  # fmt: skip
            written.append(file.key)
    kept = tuple(f"{one[0]}/" for one in (before, _VERSION.match(wanted[0].key)) if one)
    old = sorted(there - {file.key for file in wanted} - {k for k in there if k.startswith(kept)})
    for key in old:
        s3.delete_object(Bucket=bucket, Key=key)
    return Change(tuple(written), tuple(old))


def _version(files: Mapping[str, bytes]) -> str:
    hashed = hashlib.blake2b(digest_size=8)
    for name, content in files.items():
        for part in (name.encode(), content):
            hashed.update(len(part).to_bytes(8, "big") + part)
    return hashed.hexdigest()


def _keys(s3: Objects, bucket: str) -> Iterator[str]:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        yield from (one["Key"] for one in page.get("Contents", ()))


def _content(s3: Objects, bucket: str, key: str) -> bytes | None:
    try:
        found: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except ClientError as error:
        if code_of(error) not in ("404", "NoSuchKey"):
            raise
        return None
    return found
