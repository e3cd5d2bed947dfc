"""An object store that is really not local: moto's S3 server on loopback, which this process and its children reach."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec  # type: ignore[import-untyped]  # comes without types
import pytest
from moto.server import ThreadedMotoServer

BUCKET = "s3://bucket"


@contextmanager
def object_store() -> Iterator[str]:
    """Runs the server, with an empty bucket, for the block; gives the bucket's URL."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    # The server's objects belong to the process: without a reset, a second server finds those of the first one.
    reset = urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")
    urllib.request.urlopen(reset, timeout=30).close()  # noqa: S310
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",  # any will do
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        forget_connections()
        fsspec.filesystem("s3").mkdir("bucket")
        yield BUCKET
    forget_connections()
    server.stop()


def forget_connections() -> None:
    """Makes fsspec connect anew, as the environment now says."""
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def upload(folder: Path, url: str) -> None:
    """Copies all files below a folder."""
    system = fsspec.filesystem("s3")
    for path in folder.rglob("*"):
        if path.is_file():
            system.put_file(os.fspath(path), f"{url}/{path.relative_to(folder)}")


def download(url: str, folder: Path) -> Path:
    """Copies all objects below a URL; returns the folder."""
    system = fsspec.filesystem("s3")
    root = url.removeprefix("s3://")
    for name in system.find(root):
        path = folder / name.removeprefix(f"{root}/")
        path.parent.mkdir(parents=True, exist_ok=True)
        system.get_file(name, os.fspath(path))
    return folder
