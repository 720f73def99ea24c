"""The fixtures themselves: what they hand out is real and answers."""

import io
from pathlib import Path

from support.minio_server import MinioServer
from support.redis_server import RedisServer


def test_redis_is_real_and_never_evicts(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_own_redis_keeps_its_data_over_a_kill(own_redis: RedisServer) -> None:
    with own_redis.client() as client:
        client.set("kept", "yes")
    own_redis.kill()
    own_redis.start()
    with own_redis.client() as client:
        assert client.get("kept") == b"yes"


def test_minio_keeps_its_objects_over_a_kill(tmp_path: Path) -> None:
    server = MinioServer(tmp_path).start()
    try:
        bucket = server.make_bucket()
        server.client().put_object(bucket_name=bucket, object_name="pack", data=io.BytesIO(b"bytes"), length=5)
        server.kill()
        server.start()
        assert server.client().get_object(bucket_name=bucket, object_name="pack").read() == b"bytes"
    finally:
        server.stop()
