"""Files at an address that fsspec can read: https, s3, gs, az, sftp, file, memory and others.

One decision: the whole file is copied here before a row of it is read, so reading is the same for every source and a connection
that breaks costs the copy and not the run; how the store is logged into is the environment's business or is named by `${NAME}`.
"""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import unquote, urlsplit

from pydantic import Field, field_validator

from luthier.core.errors import LuthierError, MachineError, UserError, did_you_mean, from_os_error
from luthier.parts.origins.contract import Fetched, Origin
from luthier.parts.origins.secrets import filled, refuse_literal_option, refuse_literal_secrets, scrubbed
from luthier.parts.sources.archive import is_unsafe_name, why_odd_name

EXTRAS = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "sftp": "paramiko", "ssh": "paramiko"}
"""Packages beside fsspec that an address needs."""
_TELLING = (
    "ETag",
    "etag",
    "md5Hash",
    "content_md5",
    "Content-MD5",
    "Digest",
    "checksum",
    "LastModified",
    "last_modified",
    "mtime",
    "created",
)
_LOADED_ERRORS = (("aiohttp", "ClientError"), ("botocore.exceptions", "BotoCoreError"), ("botocore.exceptions", "ClientError"))


class Url(Origin):
    """One file by its address, or several by a pattern with `*` (not over http)."""

    main: ClassVar[str] = "url"

    kind: Literal["url"] = "url"
    url: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9+.-]*://.", description="of a file, or a pattern with *; secrets as ${NAME}")
    options: dict[str, str | int | bool] = Field(default={}, description="for the file system of fsspec; secrets as ${NAME}")

    @field_validator("url")
    @classmethod
    def _plain(cls, value: str) -> str:
        if "::" in value:
            raise ValueError("an address must be of one file system (no `::`)")
        refuse_literal_secrets(value)
        return value

    @field_validator("options")
    @classmethod
    def _named(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name, option in value.items():
            refuse_literal_option(name, option)
        return value

    def shown(self) -> str:
        return self.url

    def version(self) -> str:
        with self._reaching() as (fs, paths):
            found = [fs.info(path) for path in paths]
        told = [{k: str(f[k]) for k in (*_TELLING, "size") if f.get(k) is not None} for f in found]
        return json.dumps(told) if all(set(_TELLING) & t.keys() for t in told) else ""

    def fetch(self, into: Path) -> Fetched:
        files: list[Path] = []
        with self._reaching() as (fs, paths):
            for path in paths:
                name = unquote(urlsplit(path).path if "://" in path else path).rstrip("/").rpartition("/")[2]
                if not name or is_unsafe_name(name) or why_odd_name(name):
                    raise UserError("an address must end with a file name", repr(name[:80]), self.url)
                files.append(into / name)
                if files[-1] in files[:-1]:
                    raise UserError("the files of a pattern must have different names", name, self.url)
                fs.get_file(path, str(files[-1]))
        return Fetched(tuple(files))

    @contextmanager
    def _reaching(self) -> Iterator[tuple[Any, list[str]]]:
        """The file system and the paths on it; every error of its library as one of ours, without a secret in it."""
        scheme = self.url.partition("://")[0].lower()
        secret = (self.url, *(o for o in self.options.values() if isinstance(o, str)))
        try:
            yield self._open(scheme)
        except LuthierError:
            raise
        except ImportError as err:
            package = EXTRAS.get(scheme, "")
            fix = f"pip install {package}" if package else scrubbed(str(err))
            raise MachineError(
                f"reading {scheme}:// addresses needs {package or 'another package'}, which is not installed: {fix}"
            ) from None
        except FileNotFoundError as err:
            status = getattr(err.__cause__, "status", None)  # over http every failure is told as a missing file
            if err.__cause__ is None or status in (404, 410) or scheme not in ("http", "https"):
                raise UserError("the source must exist", "nothing there", self.url) from None
            if status in (401, 403):
                raise UserError("the source must be readable", f"no permission (HTTP {status})", self.url) from None
            raise self._unreadable(err.__cause__, secret) from None
        except IsADirectoryError:
            raise UserError("a file is wanted", "a folder", self.url, "name a file in it, or a pattern such as /*.jsonl") from None
        except PermissionError as err:
            raise UserError("the source must be readable", scrubbed(str(err), *secret) or "no permission", self.url) from None
        except (OSError, ValueError, *_library_errors()) as err:
            if getattr(err, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                raise from_os_error(err, "fetching") from None  # type: ignore[arg-type]
            raise self._unreadable(err, secret) from None

    def _unreadable(self, err: BaseException, secret: tuple[str, ...]) -> MachineError:
        words = scrubbed(f"{type(err).__name__}: {err}", *secret)
        return MachineError(f"the source {self.url} cannot be read ({words}): check the address and the network, then run again")

    def _open(self, scheme: str) -> tuple[Any, list[str]]:
        try:
            import fsspec
        except ImportError:
            raise MachineError("reading addresses needs fsspec: pip install 'luthier[data]'") from None
        from fsspec.registry import known_implementations, registry

        known = {*known_implementations, *registry}
        if scheme not in known:
            raise UserError("an address must begin with a known scheme", f"{scheme}://", self.url, did_you_mean(scheme, known))
        options = {k: filled(v) if isinstance(v, str) else v for k, v in self.options.items()}
        fs, path = fsspec.url_to_fs(filled(self.url), **options)
        if "*" not in path or scheme in ("http", "https"):
            return fs, [path]
        paths = sorted(str(p) for p in fs.glob(path) if fs.isfile(p))
        if not paths:
            raise UserError("the pattern must fit a file", "none", self.url)
        return fs, paths


def _library_errors() -> tuple[type[Exception], ...]:
    """The errors of the libraries beneath fsspec that are no OSError, of those that are loaded."""
    found = (getattr(sys.modules.get(module), name, None) for module, name in _LOADED_ERRORS)
    return tuple(error for error in found if isinstance(error, type) and issubclass(error, Exception))
