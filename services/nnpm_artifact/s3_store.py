"""Packs in a bucket of any S3: MinIO, Versity's gateway, a cloud's. The README says what is asked of one."""

import base64
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit
from xml.etree.ElementTree import ParseError

import urllib3
from minio import Minio
from minio.credentials.credentials import Credentials
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from minio.signer import sign_v4_s3

from nnpm.errors import AlreadyExists, DataLoss, InvalidArgument, NnpmError, NotFound, Unavailable
from nnpm_artifact.disk import check_space, disk_errors, disk_full
from nnpm_artifact.pack_store import StoredPack
from nnpm_artifact.presigned import RangeSigner
from nnpm_artifact.staged import Room, Staged, StagedMemory, stage_file

CONNECTIONS = 16
ROOM_BYTES = 128 << 20
_TIMEOUT = urllib3.Timeout(connect=2.0, read=15.0)
_RETRIES = urllib3.Retry(
    total=2, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504), allowed_methods=None, raise_on_status=False
)
"""A dead server is said to be dead within seconds, before the callers' deadlines; a hiccup is not noticed."""
_CHECKSUM = "x-amz-checksum-crc32"
_UNSIGNED = "UNSIGNED-PAYLOAD"
_ABSENT = frozenset({"NoSuchKey", "NoSuchObject"})
_FULL = frozenset({"XMinioStorageFull", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded"})


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where packs go: `s3://bucket/prefix?endpoint=http://host:9000&region=us-east-1`."""

    name: str
    prefix: str
    host: str
    secure: bool
    region: str

    @property
    def endpoint(self) -> str:
        """The server's URL."""
        return f"{'https' if self.secure else 'http'}://{self.host}"

    @classmethod
    def parse(cls, url: str) -> "Bucket":
        """Raises InvalidArgument INVALID_SETTINGS when a part is missing."""
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        endpoint = urlsplit(query.get("endpoint", [""])[0])
        if parts.scheme != "s3" or not parts.netloc or endpoint.scheme not in {"http", "https"} or not endpoint.netloc:
            raise InvalidArgument(
                "INVALID_SETTINGS",
                f"{url!r} names no bucket",
                hint="s3://BUCKET?endpoint=http://127.0.0.1:9000",
                metadata={"setting": "NNPM_ARTIFACT_STORE"},
            )
        prefix = parts.path.strip("/")
        region = query.get("region", ["us-east-1"])[0]
        return cls(parts.netloc, f"{prefix}/" if prefix else "", endpoint.netloc, endpoint.scheme == "https", region)


class S3Store:
    """The pack store in a bucket. A put is conditional (If-None-Match), so nothing is ever overwritten."""

    def __init__(
        self,
        bucket: Bucket,
        access_key: str,
        secret_key: str,
        staging: Path,
        signer: RangeSigner | None = None,
        *,
        room_bytes: int = ROOM_BYTES,
    ) -> None:
        """Connects lazily: a server that is down now is waited for by health, not here.

        Args:
            staging: a folder of this process's own, emptied here.
            signer: of the URLs that readers get; None = they get none.
            room_bytes: memory for packs on their way; those beyond are written into `staging` first.
        """
        self._bucket = bucket
        self._signer = signer
        self._staging = staging
        self._room = Room(room_bytes)
        self._credentials = Credentials(access_key, secret_key)
        self._http = urllib3.PoolManager(maxsize=CONNECTIONS, block=False, timeout=_TIMEOUT, retries=_RETRIES)
        self._client = Minio(
            bucket.host,
            access_key=access_key,
            secret_key=secret_key,
            secure=bucket.secure,
            region=bucket.region,
            http_client=self._http,
        )
        with disk_errors(staging):
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(parents=True)

    @property
    def staging(self) -> Path:
        return self._staging

    def stage(self, limit: int | None) -> Staged:
        if limit is not None and self._room.take(limit):
            return StagedMemory(self._room, limit)
        return stage_file(self._staging)

    def put(self, name: str, staged: Staged) -> bool:
        checksum = base64.b64encode(staged.crc32.to_bytes(4)).decode()
        with _s3_errors(name):
            url, headers = self._signed_put(name, checksum)
            headers["Content-Length"] = str(staged.size)
            answer = self._http.request("PUT", url, body=staged, headers=headers, retries=_RETRIES)
        if answer.status == 200:
            return answer.headers.get(_CHECKSUM) == checksum
        if answer.status == 412 and not _was_repeated(answer):
            raise AlreadyExists("PACK_EXISTS", f"pack {name} is there already", metadata={"pack": name})
        if answer.status == 412 and self.size(name) == staged.size:
            return False  # an attempt before this one had arrived, its answer had not
        raise _refusal(name, answer.status, answer.data[:2000].decode(errors="replace"))

    def _signed_put(self, name: str, checksum: str) -> tuple[str, dict[str, str]]:
        """URL and headers of a PUT that overwrites nothing and whose body the store checks.

        Minio.put_object takes neither the condition nor a checksum, so the request is made here.
        """
        url = self._bucket.endpoint + quote(f"/{self._bucket.name}/{self._key(name)}", safe="/-_.~")
        now = datetime.now(UTC)
        signed = sign_v4_s3(
            method="PUT",
            url=urlsplit(url),
            region=self._bucket.region,
            headers={
                "Host": self._bucket.host,
                "If-None-Match": "*",
                "x-amz-content-sha256": _UNSIGNED,
                "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ"),
                _CHECKSUM: checksum,
            },
            credentials=self._credentials,
            content_sha256=_UNSIGNED,
            date=now,
        )
        return url, {header: str(value) for header, value in signed.items()}

    def read(self, name: str, offset: int, length: int) -> bytes:
        with _s3_errors(name):
            answer = self._client.get_object(
                bucket_name=self._bucket.name, object_name=self._key(name), offset=offset, length=length
            )
            try:
                data: bytes = answer.read()
            finally:
                answer.close()
                answer.release_conn()
        if len(data) < length:
            raise DataLoss("PACK_CORRUPT", f"pack {name} ends at byte {offset + len(data)}", metadata={"pack": name})
        return data

    @property
    def shares(self) -> bool:
        return self._signer is not None

    def share(self, name: str, offset: int, length: int) -> str:
        assert self._signer is not None  # noqa: S101 -- see `shares`
        return self._signer.sign(self._key(name), offset, length)

    def size(self, name: str) -> int:
        with _s3_errors(name):
            stat = self._client.stat_object(bucket_name=self._bucket.name, object_name=self._key(name))
        return int(stat.size or 0)

    def list(self, prefix: str) -> Iterator[StoredPack]:
        with _s3_errors(prefix):
            found = self._client.list_objects(
                bucket_name=self._bucket.name, prefix=self._bucket.prefix + prefix, recursive=True
            )
            for item in found:
                yield StoredPack(str(item.object_name).removeprefix(self._bucket.prefix), int(item.size or 0))

    def delete(self, name: str) -> None:
        with _s3_errors(name):
            self._client.remove_object(bucket_name=self._bucket.name, object_name=self._key(name))

    def check_space(self, wanted: int) -> None:
        check_space(self._staging, wanted)

    def check(self) -> None:
        """Also makes the bucket when it is not there."""
        with _s3_errors(self._bucket.name):
            if not self._client.bucket_exists(bucket_name=self._bucket.name):
                self._client.make_bucket(bucket_name=self._bucket.name)

    def close(self) -> None:
        self._http.clear()

    def _key(self, name: str) -> str:
        return self._bucket.prefix + name


@contextmanager
def _s3_errors(name: str) -> Iterator[None]:
    """Turns what minio and urllib3 raise into nnpm's errors."""
    try:
        yield
    except S3Error as error:
        raise _from_s3(name, error) from error
    except (urllib3.exceptions.HTTPError, ServerError, InvalidResponseError, ParseError, OSError) as error:
        raise _unavailable(f"the artifact store cannot be reached: {type(error).__name__}") from error
    except MinioException as error:
        raise _unavailable(f"the artifact store refuses: {error}") from error


def _from_s3(name: str, error: S3Error) -> NnpmError:
    code = error.code or ""
    if code in _ABSENT:
        return NotFound("PACK_NOT_FOUND", f"the store has no pack {name}", metadata={"pack": name})
    if code == "InvalidRange":
        return DataLoss("PACK_CORRUPT", f"pack {name} is shorter than it should be", metadata={"pack": name})
    return _refusal(name, 0, code)


def _refusal(name: str, status: int, text: str) -> NnpmError:
    if status == 507 or any(code in text for code in _FULL):
        return disk_full("the artifact store")
    return _unavailable(f"the artifact store refuses pack {name}: {text or status}")


def _unavailable(message: str) -> Unavailable:
    return Unavailable(
        "STORE_UNAVAILABLE",
        message,
        hint="the service goes on by itself once the store answers; see NNPM_ARTIFACT_STORE and its keys",
        retry_after=5,
    )


def _was_repeated(answer: urllib3.BaseHTTPResponse) -> bool:
    return bool(answer.retries and answer.retries.history)
