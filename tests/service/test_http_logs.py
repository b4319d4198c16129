"""Logs are JSON, and no secret is in them."""

import io
import json
import logging

import pytest

from nas.service.logs import JsonLines, redacted

SECRET = "s3cr3t-Zm9vYmFyYmF6cXV4"
TOKEN = f"nas_0123abcd_{SECRET}"


@pytest.mark.parametrize("text", [
    f"token {TOKEN} was used",
    f"Authorization: Bearer {SECRET}",
    f"{{'authorization': 'Bearer {SECRET}'}}",
    f'{{"Authorization": "Bearer {SECRET}"}}',
    f"[(b'authorization', b'Bearer {SECRET}'), (b'host', b'x')]",
    f"[(b'cookie', b'nas_token={SECRET}')]",
    f"Cookie: nas_token={SECRET}; a=b",
    f"Set-Cookie: nas_token={SECRET}; HttpOnly",
    f"could not connect to postgresql+psycopg://nas:{SECRET}@db:5432/nas",
    f"postgresql://nas:a/b@{SECRET}@db/nas",
    f"connection failed: host=db user=nas password={SECRET} dbname=nas",
    f"connect(password='{SECRET}')",
    f"Authorization: Basic {SECRET}",
    json.dumps({"inner": json.dumps({"password": SECRET})}),
])
def test_secrets_are_hidden(text: str) -> None:
    assert SECRET not in redacted(text)


def test_what_is_no_secret_stays() -> None:
    text = "job 7 failed: http://127.0.0.1:8000/api/v1/jobs, 3 tokens read, see a@b.example"
    assert redacted(text) == text
    assert redacted(f"of {TOKEN}") == "of nas_0123abcd_…"


def test_a_record_is_one_line(lines: io.StringIO) -> None:
    logger = logging.getLogger("nas.service.test")
    logger.info("two\nlines", extra={"status": 200, "user": "ann", "url": f"x://a:{SECRET}@b"})
    try:
        raise RuntimeError(f"password={SECRET}")
    except RuntimeError:
        logger.exception("failed with %s", TOKEN)
    first, second = map(json.loads, lines.getvalue().splitlines())
    assert (first["message"], first["status"], first["user"]) == ("two\nlines", 200, "ann")
    assert (first["level"], first["logger"], first["url"]) == ("info", "nas.service.test",
                                                              "x://a:…@b")
    assert "Traceback" in second["error"]
    assert SECRET not in lines.getvalue()


def test_values_of_any_kind_are_written() -> None:
    record = logging.makeLogRecord({"msg": "m", "levelname": "INFO", "name": "n", "path": object(),
                                    "none": None})
    line = json.loads(JsonLines().format(record))
    assert line["path"].startswith("<object")
    assert "none" not in line
